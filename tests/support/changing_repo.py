"""A synthetic repository that changes at random, its stages from `dataset` to `index`, and a rebuild from nothing."""

import datetime
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

from autolora import models
from autolora.dataset.store import TRAINING_LOCK
from autolora.encoder import store as encoder
from autolora.lora.factors import Lora
from autolora.models import ClipTextEncoder
from autolora.params import DatasetParams, EncoderParams, ModelsParams
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import digest_path
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    THEMES,
    SyntheticAdapter,
    encoder_params,
    make_adapter,
    make_lora,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

FIRST_ADAPTERS, MAX_ADAPTERS, MIN_WITH_CAPTIONS = 8, 12, 5
AUTHORS, COPIED_SHARE = 4, 0.2
LICENSES = ("mit", "apache-2.0", "cc-by-4.0", None)
ENCODERS: Mapping[str, EncoderParams] = {
    "best": encoder_params(),
    "another ridge": encoder_params(ridge=1.0),
    "without captions": encoder_params(hybrid=False),
    "transformer": encoder_params(model="transformer", text_map="center", hybrid=False, probes=2, steps=2),
}


@dataclass(frozen=True, slots=True)
class StageRun:
    """What one run of the stages depends on besides the repository."""

    root: Path
    pipeline: Path
    """folder of the text encoder"""
    dataset: DatasetParams
    encoder: EncoderParams | None
    """None: the encoder is not trained in this run"""


def run_stages(run: StageRun, batch: int = 2) -> None:
    """Run the stages `dataset`, `encoder` if it must be trained, and `index`."""
    text_encoder = load_text_encoder(run.pipeline)
    write_dataset(run.root, run.dataset)
    if run.encoder:
        write_encoder(run.root, text_encoder, run.encoder)
    write_index(run.root, batch, text_encoder)


@lru_cache(maxsize=1)
def load_text_encoder(pipeline: Path) -> ClipTextEncoder:
    """Return the text encoder in the folder of a pipeline."""
    return models.load_text_encoder(
        ModelsParams(
            pipeline=str(pipeline), pipeline_revision=None, vlm="", vlm_revision=None, device="cpu",
            dtype="float32", threads=1, memory=None,
        )
    )  # fmt: skip


@dataclass(slots=True)
class ChangingRepository:
    """The state that a repository should have, and the changes that it can undergo."""

    rng: random.Random
    adapters: dict[str, SyntheticAdapter] = field(default_factory=dict)
    """by id of the listing"""
    replaced: int = 0
    """number of files that were replaced"""
    day: int = 0
    """days since the first change"""
    encoder: str = "best"
    train_until: datetime.date = DAY
    needs_encoder: bool = True
    """whether the encoder of `encoder` and `train_until` is not trained yet"""

    def __post_init__(self) -> None:
        while len(self.adapters) < FIRST_ADAPTERS:
            self.add()

    def write(self, root: Path, pipeline: Path) -> StageRun:
        """Write catalog, pool and captions to a root, and return the run of the stages that they need."""
        write_repository(root, list(self.adapters.values()))
        dataset = replace(DATASET, test_share=0.1, train_until=self.train_until)
        return StageRun(root, pipeline, dataset, ENCODERS[self.encoder] if self.needs_encoder else None)

    def change(self) -> None:
        """Make one random change, a day later."""
        self.day += 1
        self.rng.choice(self._possible_changes())()

    def add(self) -> None:
        """Add an adapter: a new one, one that was removed before, or one whose update is that of another one."""
        free = [name for name in product(THEMES, range(AUTHORS)) if listing_id(*name) not in self.adapters]
        theme, author = self.rng.choice(free)
        adapter = make_adapter(theme, author, self.today)
        if self.adapters and self.rng.random() < COPIED_SHARE:
            adapter = self._replace_file(adapter, self._random_adapter().lora)
        self._put(adapter)

    def relicense(self) -> None:
        """Change columns of an adapter that its vector does not depend on."""
        adapter = self._random_adapter()
        listing = replace(
            adapter.listing,
            license=self.rng.choice(LICENSES),
            nsfw=self.rng.random() < 0.5,
            trigger_words=tuple(self.rng.sample(THEMES, self.rng.randrange(3))),
        )
        self._put(replace(adapter, listing=listing))

    def rewrite_caption(self) -> None:
        """Replace the text of one caption."""
        adapter = self._random_adapter(with_captions=True)
        captions = list(adapter.captions)
        position = self.rng.randrange(len(captions))
        text = f"a {self.rng.choice(THEMES)} drawing of thing {self.rng.randrange(10)}"
        captions[position] = replace(captions[position], text=text)
        self._put(replace(adapter, captions=tuple(captions)))

    def drop_captions(self) -> None:
        """Remove some captions of an adapter, or all."""
        adapter = self._random_adapter(with_captions=True)
        count = self.rng.randrange(len(adapter.captions))
        self._put(replace(adapter, captions=tuple(self.rng.sample(adapter.captions, count))))

    def drop_rendering(self) -> None:
        """Remove one rendering from an adapter's listing; its captions stay in data/captions."""
        adapter = self._random_adapter()
        renderings = adapter.listing.renderings
        self._put(replace(adapter, listing=replace(adapter.listing, renderings=renderings[1:])))

    def replace_file(self) -> None:
        """Replace the file of a listing by another LoRA."""
        adapter = self._random_adapter()
        self._put(self._replace_file(adapter, make_lora(adapter.theme, AUTHORS + self.replaced)))

    def remove(self) -> None:
        """Remove an adapter."""
        del self.adapters[self._random_adapter().listing.id]

    def renew_encoder(self) -> None:
        """Train another kind of encoder on all adapters up to now."""
        self.encoder, self.train_until = self.rng.choice(sorted(ENCODERS)), self.today
        self.needs_encoder = True

    @property
    def today(self) -> datetime.date:
        """The day of the last change."""
        return DAY + datetime.timedelta(days=self.day)

    def _possible_changes(self) -> list[Callable[[], None]]:
        """Return the changes after which the encoder can still be trained."""
        changes = [self.relicense, self.rewrite_caption, self.replace_file, self.renew_encoder]
        if len(self.adapters) < MAX_ADAPTERS:
            changes.append(self.add)
        if sum(map(has_captions, self.adapters.values())) > MIN_WITH_CAPTIONS:
            changes += [self.drop_captions, self.drop_rendering, self.remove]
        return changes

    def _random_adapter(self, with_captions: bool = False) -> SyntheticAdapter:
        """Return a random adapter. with_captions: only one that has captions."""
        names = [id for id, a in self.adapters.items() if has_captions(a) or not with_captions]
        return self.adapters[self.rng.choice(sorted(names))]

    def _put(self, adapter: SyntheticAdapter) -> None:
        self.adapters[adapter.listing.id] = adapter

    def _replace_file(self, adapter: SyntheticAdapter, lora: Lora) -> SyntheticAdapter:
        """Return an adapter with the same listing and a new file."""
        self.replaced += 1
        listing = replace(adapter.listing, sha256=hash_value(["replaced file", self.replaced]))
        return replace(adapter, lora=lora, listing=listing)


def listing_id(theme: str, author: int) -> str:
    """Return the id of the listing that `make_adapter` makes."""
    return f"author{author}/{theme}"


def has_captions(adapter: SyntheticAdapter) -> bool:
    """Return whether one of an adapter's renderings has a caption."""
    images = {rendering.sha256 for rendering in adapter.listing.renderings}
    return any(caption.image in images for caption in adapter.captions)


def rebuild(run: StageRun, repository: ChangingRepository, root: Path) -> None:
    """Build the index in an empty root from the present state, and the training lock and encoder of a complete run."""
    for path in (Path(TRAINING_LOCK), encoder.folder(Path()), digest_path(Path(), "encoder")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (run.root / path).is_dir() else shutil.copy
        copy(run.root / path, root / path)
    run_stages(replace(repository.write(root, run.pipeline), encoder=None), batch=64)
