"""Nights of an operator with three hubs: adapters come, are refused, copied, mislabelled, changed and withdrawn.

The stages `dataset` and `index` and the gate are real; crawl, pool and captions are replaced by what they would write.
"""

import datetime
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from autolora.captions.store import CaptionRecipe, prompt_digest
from autolora.catalog import takedowns
from autolora.catalog.diff import Snapshot, compare, snapshot
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.dataset import stage as dataset
from autolora.dataset.stage import DatasetSync
from autolora.index import stage as index
from autolora.index.served import release
from autolora.index.stage import IndexSync
from autolora.index.store import content_digest
from autolora.lora.sketch import sketch
from autolora.params import Params
from autolora.pool import store as pool
from autolora.pool.near_duplicates import NEAR_DUPLICATE
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering
from autolora.refresh.outcomes import Outcome, outcomes
from autolora.releases.checks import Decision, record
from autolora.releases.gate import judge
from autolora.releases.queries import QUERIES_FILE
from autolora.storage.files import write_atomic, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest
from autolora.text_encoder.sentences import SentenceEncoder, load_saved
from tests.support.changing_repo import load_text_encoder
from tests.support.synthetic_repo import (
    BOUNDS,
    DATASET,
    DAY,
    SETTINGS,
    SLOTS,
    SPEC,
    SyntheticAdapter,
    encoder_params,
    make_adapter,
    make_lora,
    pool_row,
    tiny_text_encoder,
    write_encoder,
    write_tables,
)
from tests.support.tiny_sentences import tiny_sentence_encoder

SENTENCES = "sentences"
"""folder of the project's sentence encoder"""
FIRST_ADAPTERS, NIGHTS_BEFORE = 60, 13
POISONED_SIZES = (15, 50)
HUBS: Mapping[str, float] = {"civitai": 0.6, "huggingface": 0.28, "modelscope": 0.12}
"""hub -> its share of the newcomers"""
THEMES = (
    "watercolour",
    "mosaic",
    "neon",
    "linocut",
    "pixel",
    "chalk",
    "origami",
    "graffiti",
    "sepia",
    "anime",
)
NOUNS = (
    "cat",
    "dog",
    "tower",
    "boat",
    "forest",
    "robot",
    "flower",
    "bridge",
    "horse",
    "clock",
    "chair",
    "fish",
)
PLACES = ("by the sea", "at night", "in the rain", "on a hill", "in a garden", "under a tree", "in the city")
COLORS = ("red", "blue", "pink", "gold", "grey", "white")
RECIPE = CaptionRecipe(
    instructions={"short": "name it", "long": "describe it"},
    max_tokens=48, max_image_side=64, vlm="v" * 64, dtype="float32",
)  # fmt: skip
PROMPTS = {length: prompt_digest(text, RECIPE.max_tokens) for length, text in RECIPE.instructions.items()}
QUERIES = [f"a {theme} {noun}" for theme in THEMES for noun in NOUNS[:4]]
REFUSED = "wrong-base"
Take = Callable[[DatasetSync], DatasetSync]


def same_dataset(sync: DatasetSync) -> DatasetSync:
    """Return the stage as it is."""
    return sync


def update_index(sync: IndexSync) -> None:
    """Run the stage `index` as its flow does, up to the digest."""
    plan = sync.plan(64)
    for batch in plan.embed:
        sync.embed(batch)
    sync.update(plan.update)
    sync.remove(plan.remove)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What the hubs deliver on one night."""

    size: int
    """number of new files"""
    hubs: Mapping[str, float] = field(default_factory=lambda: HUBS)
    themes: Sequence[str] = THEMES[:-1]
    refused: float = 0.15
    """probability that a file is refused; so are the others"""
    copied: float = 0.08
    mislabelled: float = 0.05
    withdrawn: float = 0.004
    """of the adapters that are listed"""
    relicensed: float = 0.01
    recaptioned: float = 0.01
    """whose gallery shows another image"""
    captioned: bool = True
    """False: the captioner is down, and captions follow the next night"""


@dataclass(slots=True)
class Nights:
    """The state of hubs, pool and captions, and the project that is refreshed from it."""

    root: Path
    rng: random.Random
    files: dict[str, SyntheticAdapter] = field(default_factory=dict)
    """sha256 -> file that a hub has listed"""
    verdicts: dict[str, str] = field(default_factory=dict)
    """sha256 -> verdict of the pool"""
    waiting: dict[str, tuple[Caption, ...]] = field(default_factory=dict)
    """sha256 -> captions that follow the next night"""
    taken_down: list[Takedown] = field(default_factory=list)
    number: int = 0
    """of the night"""
    made: int = 0
    """number of files that were made"""
    sketched: set[str] = field(default_factory=set)
    before: Snapshot = field(default_factory=lambda: Snapshot((), {}))
    """when the last index was promoted"""

    @property
    def today(self) -> datetime.date:
        """The day of the night."""
        return DAY + datetime.timedelta(days=self.number)

    @property
    def sentences(self) -> SentenceEncoder:
        """The sentence encoder of the project's language."""
        return load_saved(self.root / SENTENCES)

    @property
    def params(self) -> Params:
        """The params of the project."""
        models = replace(SETTINGS.models, pipeline=str(self.root / "pipeline"), device="cpu", threads=1)
        return replace(SETTINGS, models=models)

    @property
    def active(self) -> list[SyntheticAdapter]:
        """The files that a hub lists, in the order in which they came."""
        return [item for item in self.files.values() if item.listing.is_active]

    @property
    def accepted(self) -> list[SyntheticAdapter]:
        """The files that are in the pool and listed."""
        return [item for item in self.active if self.verdicts[item.sha256] == ACCEPTED]

    @property
    def newcomers(self) -> list[SyntheticAdapter]:
        """The accepted files of this night."""
        return [item for item in self.accepted if item.listing.first_seen == self.today]

    def copied(self, root: Path, seed: str) -> "Nights":
        """Return the same operator in a new folder, whose next nights are drawn from another seed."""
        shutil.copytree(self.root, root)
        return replace(
            self, root=root, rng=random.Random(seed), files={**self.files}, verdicts={**self.verdicts},
            waiting={**self.waiting}, taken_down=[*self.taken_down], sketched={*self.sketched},
        )  # fmt: skip

    def deliver(self, delivery: Delivery) -> None:
        """Begin a night: the hubs change their lists, and the pool and the captioner process what is new."""
        self.number += 1
        for sha256, captions in self.waiting.items():
            self.put(replace(self.files[sha256], captions=captions))
        self.waiting = {}
        for item in self.active:
            self._change(item, delivery)
        for _ in range(delivery.size):
            self.add(delivery)

    def add(self, delivery: Delivery) -> SyntheticAdapter:
        """Add a new file of a random hub and theme, and return it."""
        rng, self.made = self.rng, self.made + 1
        hub = rng.choices([*delivery.hubs], [*delivery.hubs.values()])[0]
        theme = rng.choice(delivery.themes)
        shown = rng.choice(THEMES) if rng.random() < delivery.mislabelled else theme
        item = make_adapter(
            theme,
            self.made,
            self.today,
            make_lora(theme, self.made),
            hub=hub,
            file=f"{self.made}.safetensors",
        )
        images = [hash_value(["image", self.made, n]) for n in range(rng.choice((1, 2, 3)))]
        item = self.shown(item, images, shown)
        draw = rng.random()
        self.verdicts[item.sha256] = (
            REFUSED if draw < delivery.refused
            else NEAR_DUPLICATE if draw < delivery.refused + delivery.copied
            else ACCEPTED
        )  # fmt: skip
        if not delivery.captioned:
            self.waiting[item.sha256], item = item.captions, replace(item, captions=())
        self.put(item)
        return item

    def shown(self, item: SyntheticAdapter, images: Sequence[str], theme: str) -> SyntheticAdapter:
        """Return a file whose gallery has these images, captioned as of a theme."""
        renderings = tuple(
            ListedRendering(url=f"http://127.0.0.1/{image}", sha256=image, prompt=None) for image in images
        )
        captions = tuple(caption for image in images for caption in self.describe(image, theme))
        return replace(item, listing=replace(item.listing, renderings=renderings), captions=captions)

    def describe(self, image: str, theme: str) -> list[Caption]:
        """Return what the captioner says of an image."""
        noun, place = self.rng.choice(NOUNS), self.rng.choice(PLACES)
        color = self.rng.choice(COLORS)
        texts = {"short": f"a {theme} {noun}", "long": f"a {color} {noun} {place} in the {theme} style"}
        return [
            Caption(image=image, prompt=PROMPTS[length], vlm=RECIPE.vlm, length=length, text=text)
            for length, text in texts.items()
        ]

    def put(self, item: SyntheticAdapter) -> None:
        """Replace the state of a file."""
        self.files[item.sha256] = item

    def withdraw(self, item: SyntheticAdapter) -> None:
        """Withdraw a file, as its hub does."""
        listing = replace(item.listing, status="withdrawn", withdrawn=self.today)
        self.put(replace(item, listing=listing))

    def take_down(self, item: SyntheticAdapter, by_name: bool = False) -> None:
        """List a file as taken down; the pool's and the catalog's state stays as it is."""
        listing = item.listing
        self.taken_down.append(
            Takedown(
                kind="weights", sha256=None if by_name else item.sha256, hub=listing.hub, id=listing.id,
                file=listing.file, reason="asked by its author", date=self.today,
            )
        )  # fmt: skip

    def _change(self, item: SyntheticAdapter, delivery: Delivery) -> None:
        draw = self.rng.random()
        if draw < delivery.withdrawn:
            return self.withdraw(item)
        draw = self.rng.random()
        if draw < delivery.relicensed:
            self.put(replace(item, listing=replace(item.listing, license=self.rng.choice(("mit", "other")))))
        elif draw < delivery.relicensed + delivery.recaptioned and item.captions:
            images = [rendering.key for rendering in item.listing.renderings[1:]]
            self.put(self.shown(item, [*images, hash_value(["image", item.sha256, self.number])], item.theme))

    def write(self) -> None:
        """Write what crawl, pool and captions would have written."""
        items = [*self.files.values()]
        write_tables(self.root, items)
        rows = {item.listing.key: self._pool_row(item) for item in self.active}
        write_rows(self.root / "data/pool/adapters.jsonl", [rows[key].to_row() for key in sorted(rows)])
        for item in items:
            if item.sha256 not in self.sketched:
                pool.save_sketch(self.root, item.sha256, sketch(item.lora, SLOTS, SPEC))
                self.sketched.add(item.sha256)
        recipe = pool_row(items[0]).recipe
        write_digest(self.root, "pool", {}, 1, recipe=recipe)
        write_digest(self.root, "captions", {}, 1, recipe=RECIPE.to_row())
        if self.taken_down:
            takedowns.write(self.root, Takedowns(tuple(self.taken_down)))

    def _pool_row(self, item: SyntheticAdapter) -> Adapter:
        row, verdict = pool_row(item), self.verdicts[item.sha256]
        return replace(row, verdict=verdict, reason="" if verdict == ACCEPTED else "as drawn")

    def run_stages(
        self, change: Take = same_dataset, update: Callable[[IndexSync], None] = update_index
    ) -> None:
        """Run the stages `dataset` and `index` on what was written. change, update: of a stage with a fault."""
        sync = change(dataset.open_sync(self.root, replace(DATASET, test_share=0.1)))
        sync.update_adapters()
        sync.update_training_lock()
        sync.update_renderings()
        sync.update_captions()
        sync.update_prompts()
        sync.finish()
        encoder = load_text_encoder(self.root / "pipeline")
        if not (self.root / "digests/encoder.json").exists():
            write_encoder(self.root, encoder, encoder_params(), self.sentences)
        later = self.open_index()
        update(later)
        later.save_tokenizer(self.params.models)
        later.finish()

    def open_index(self) -> IndexSync:
        """Return the stage `index`."""
        encoder = load_text_encoder(self.root / "pipeline")
        return index.open_sync(self.root, BOUNDS, lambda: encoder, lambda: self.sentences)

    def judge(self) -> Decision:
        """Return the gate's decision on the working index; a promoted one is served."""
        digest = content_digest(self.root)
        decision = judge(self.root, digest, self.params, self.outcomes(), self.today)
        record(self.root, decision)
        if decision.verdict == "promoted":
            release(self.root, digest)
            self.before = snapshot(self.root)
        return decision

    def outcomes(self) -> list[Outcome]:
        """Return what became of the files since the last release."""
        after = snapshot(self.root)
        return outcomes(compare(self.before, after), after, pool.adapters(self.root), {}, SETTINGS.hubs)

    def refresh(self, delivery: Delivery) -> Decision:
        """Live through one night."""
        self.deliver(delivery)
        self.write()
        self.run_stages()
        return self.judge()


def draw_delivery(rng: random.Random, size: int | None = None) -> Delivery:
    """Return what comes on an ordinary night: nights differ in size, and more in their shares than single files do."""
    rates = np.random.default_rng(rng.getrandbits(32))
    return Delivery(
        size=min(60, max(1, round(rng.lognormvariate(2.9, 0.6)))) if size is None else size,
        refused=rates.beta(0.15 * 25, 0.85 * 25),
        copied=rates.beta(0.08 * 25, 0.92 * 25),
        mislabelled=rates.beta(0.05 * 25, 0.95 * 25),
        withdrawn=rates.beta(0.004 * 250, 0.996 * 250),
    )


def poisoned_delivery(rng: random.Random) -> Delivery:
    """Return what comes on a night whose fault is to be noticed."""
    return draw_delivery(rng, rng.randint(*POISONED_SIZES))


def live(root: Path, seed: int, nights: int = NIGHTS_BEFORE) -> Nights:
    """Return an operator after a first release and so many promoted nights."""
    root.mkdir(parents=True)
    tiny_text_encoder(root / "pipeline")
    tiny_sentence_encoder(root / SENTENCES, words=(*THEMES, *NOUNS, *PLACES, *COLORS))
    write_atomic(root / QUERIES_FILE, "".join(f"{query}\n" for query in QUERIES))
    bed = Nights(root, random.Random(seed))
    bed.number = -1
    bed.refresh(Delivery(size=FIRST_ADAPTERS, withdrawn=0))
    for _ in range(nights):
        bed.refresh(draw_delivery(bed.rng))
    return bed
