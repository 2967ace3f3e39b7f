"""Gates of the paper's tables: trained by each preset with several seeds, once, in the cache of a world."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from autolora import models
from autolora.dataset.store import TRAINING_LOCK
from autolora.fusion import stage
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.lora.slots import Slot
from autolora.params import FusionParams, Params, training_params
from autolora.presets import Preset
from autolora.presets.fusion import FUSION, FusionVariant
from autolora.progress import Progress
from autolora.storage.files import read_json
from autolora.storage.hashes import hash_file, hash_value
from studies.released.presets import FUSION as RELEASED

PRESETS: Mapping[str, FusionVariant] = {**FUSION, "released": RELEASED}
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "paper": ("paper", {}),
    "paper without global LoRA": ("paper", {"global_rank": 0}),
    "released": ("released", {}),
    "best": ("best", {}),
    "best without global LoRA": ("best", {"global_rank": 0}),
}
"""name -> preset and the fields that differ from it"""
LINKED = ("captions", "dataset", "pool", "training.jsonl")
"""what a training reads of data/"""


@dataclass(frozen=True, slots=True)
class TrainedGates:
    """Gates of a variant, trained with a seed."""

    variant: str
    """a key of VARIANTS"""
    seed: int


class GateShelf:
    """Trained gates of a repository.

    All are trained before the base model is loaded for images: a training loads one of its own.
    """

    def __init__(self, root: Path, params: Params, cache: Path) -> None:
        """cache: folder of the gates that the repository itself does not have."""
        self._root, self._params, self._cache = root, params, cache
        self._loaded: tuple[TrainedGates, Gates] | None = None

    @cached_property
    def _trained_on(self) -> str:
        """The hash of the training lock."""
        return hash_file(self._root / TRAINING_LOCK)

    def key(self, gates: TrainedGates) -> str:
        """Return the hash of what gates are trained from, which is known before they are."""
        base = self._params.models
        settings = training_params(section_of(self._params.fusion, gates))
        return hash_value([settings, self._trained_on, base.pipeline, base.pipeline_revision])

    def train(self, wanted: Iterable[TrainedGates]) -> None:
        """Train those of the gates that are missing; a killed training continues."""
        for gates in wanted:
            if not (fusion.folder(self._home(gates)) / "model.safetensors").exists():
                self._train(gates)

    def load(self, gates: TrainedGates | None, slots: Sequence[Slot]) -> Gates:
        """Return trained gates on the base model's device in its precision; the last ones stay in memory.

        slots: the canonical slots of the base model. Raises MissingArtifact if they were not trained.
        """
        assert gates is not None
        if self._loaded is None or self._loaded[0] != gates:
            base = self._params.models
            loaded = fusion.load(slots, fusion.folder(self._home(gates)))
            self._loaded = (gates, loaded.to(base.device, models.dtype(base)))
        return self._loaded[1]

    def losses(self, wanted: Iterable[TrainedGates]) -> dict[str, dict[str, Any]]:
        """Return variant -> seed -> the held-out losses of the gates that are trained, as `loss_table` takes them."""
        losses: dict[str, dict[str, Any]] = {}
        for gates in wanted:
            digest = read_json(self._home(gates) / "digests" / "fusion.json") or {}
            if "best_step" in digest:
                facts = {"held_out": digest["held_out_loss"], "best_step": digest["best_step"]}
                losses.setdefault(gates.variant, {})[str(gates.seed)] = facts
        return losses

    def _home(self, gates: TrainedGates) -> Path:
        """Return the folder whose data/fusion has gates: the repository itself for those of its params.yaml."""
        if section_of(self._params.fusion, gates) == self._params.fusion:
            return self._root
        return self._cache / "gates" / self.key(gates)

    def _train(self, gates: TrainedGates) -> None:
        """Train gates by the stage `fusion` in a folder whose data/ links to that of the repository."""
        params, home = self._params, self._home(gates)
        link_data(self._root, home)
        section, tokens = section_of(params.fusion, gates), params.generation.max_sequence_length
        with Progress(f"gates {gates.variant}, seed {gates.seed}", section.steps, "steps") as progress:
            stage.train(
                home,
                section,
                params.models,
                params.pool,
                tokens,
                lambda done, steps, loss: progress.advance(done - progress.done),
            )


def section_of(params: FusionParams, gates: TrainedGates) -> FusionParams:
    """Return the section `fusion` with which gates are trained: the size of the training and the overrides stay."""
    preset, changes = VARIANTS[gates.variant]
    overrides = _overrides(params.variant, FUSION[params.preset])
    variant = replace(PRESETS[preset], **{**overrides, **changes})
    return replace(params, preset=cast(Preset, preset), variant=variant, seed=gates.seed)


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
