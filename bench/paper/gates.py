"""Gates of the paper's tables: trained by each preset with several seeds, once, in the cache of a world."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from autolora import models
from autolora.dataset.store import TRAINING_LOCK
from autolora.fusion import stage
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.params import FusionParams, training_params
from autolora.presets import FUSION, FusionVariant, Preset
from autolora.progress import Progress
from autolora.storage.hashes import hash_file, hash_value
from bench.paper.world import World

VARIANTS: Mapping[str, tuple[Preset, Mapping[str, Any]]] = {
    "paper": ("paper", {}),
    "paper without global LoRA": ("paper", {"global_rank": 0}),
    "released": ("released", {}),
    "best": ("best", {}),
    "best without global LoRA": ("best", {"global_rank": 0}),
}
"""name -> preset and the fields that differ from it"""
LINKED = ("captions", "dataset", "pool", "training.jsonl")
"""what a training reads of data/"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainedGates:
    """Gates of a variant, trained with a seed."""

    variant: str
    """a key of VARIANTS"""
    seed: int


class GateShelf:
    """Trained gates, in cache/paper/gates."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loaded: tuple[TrainedGates, Gates] | None = None

    @cached_property
    def _trained_on(self) -> str:
        """The hash of the training lock."""
        return hash_file(self._world.root / TRAINING_LOCK)

    def key(self, gates: TrainedGates) -> str:
        """Return the hash of what gates are trained from, which is known before they are."""
        base = self._world.params.models
        settings = training_params(section_of(self._world.params.fusion, gates))
        return hash_value([settings, self._trained_on, base.pipeline, base.pipeline_revision])

    def load(self, gates: TrainedGates | None) -> Gates:
        """Return gates on the base model's device in its precision; they are trained first if they are missing.

        The last ones stay in memory.
        """
        assert gates is not None
        if self._loaded is None or self._loaded[0] != gates:
            base, home = self._world.params.models, self._home(gates)
            if not (fusion.folder(home) / "config.json").exists():
                self._train(gates, home)
            loaded = fusion.load(self._world.generator.slots, fusion.folder(home))
            self._loaded = (gates, loaded.to(base.device, models.dtype(base)))
        return self._loaded[1]

    def _home(self, gates: TrainedGates) -> Path:
        """Return the folder whose data/fusion has gates: the repository itself for those of its params.yaml."""
        params = self._world.params.fusion
        if section_of(params, gates) == params:
            return self._world.root
        return self._world.cache / "gates" / self.key(gates)

    def _train(self, gates: TrainedGates, home: Path) -> None:
        """Train gates by the stage `fusion` in a folder whose data/ links to that of the world."""
        params = self._world.params
        link_data(self._world.root, home)
        section = section_of(params.fusion, gates)
        tokens = params.generation.max_sequence_length
        with Progress(f"gates {gates.variant}, seed {gates.seed}", section.steps, "steps") as progress:
            stage.train(
                home,
                section,
                params.models,
                params.pool,
                tokens,
                lambda done, steps, loss: progress.advance(),
            )


def section_of(params: FusionParams, gates: TrainedGates) -> FusionParams:
    """Return the section `fusion` with which gates are trained: the size of the training and the overrides stay."""
    preset, changes = VARIANTS[gates.variant]
    overrides = _overrides(params.variant, FUSION[params.preset])
    variant = replace(FUSION[preset], **{**overrides, **changes})
    return replace(params, from_=None, from_revision=None, preset=preset, variant=variant, seed=gates.seed)


def _overrides(variant: FusionVariant, preset: FusionVariant) -> dict[str, Any]:
    values = asdict(variant)
    return {
        field.name: values[field.name]
        for field in fields(preset)
        if values[field.name] != getattr(preset, field.name)
    }


def link_data(root: Path, home: Path) -> None:
    """Let a folder's data/ hold links to what a training reads of a repository, and a cache of its own."""
    for folder in ("data", "cache", "digests"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        link = home / "data" / name
        if not link.is_symlink():
            link.symlink_to((root / "data" / name).absolute())
