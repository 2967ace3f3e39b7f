"""The dataset on disk: LanceDB tables in data/dataset and the training lock data/training.jsonl."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from autolora.captions.store import CaptionRecipe, read_captions
from autolora.dataset.families import Split
from autolora.lora.fingerprint import WIDTH
from autolora.records import Caption
from autolora.storage.files import Row, read_rows
from autolora.storage.tables import read_table

SCHEMA = 7
TRAINING_LOCK = "data/training.jsonl"

TEXT, TEXTS, INTEGER, BOOLEAN = pa.string(), pa.list_(pa.string()), pa.int64(), pa.bool_()
ADAPTERS = {
    "sha256": TEXT,
    "family": TEXT,
    "split": TEXT,
    "first_seen": pa.date32(),
    "hub": TEXT,
    "id": TEXT,
    "version": TEXT,
    "file": TEXT,
    "sources": TEXTS,  # hub:id of each listing of the file
    "license": TEXT,
    "commercial": BOOLEAN,
    "derivatives": BOOLEAN,
    "credit": BOOLEAN,
    "base_model": TEXT,
    "base": TEXT,
    "nsfw": BOOLEAN,
    "nsfw_level": TEXT,
    "person": BOOLEAN,
    "minor": BOOLEAN,
    "trigger_words": TEXTS,
    "description": TEXTS,
    "layout": TEXT,
    "num_slots": INTEGER,
    "rank_max": INTEGER,
    "size": INTEGER,  # bytes of the file
    "warnings": TEXTS,  # codes of autolora.lora.verdict.WARNINGS
    "norm": pa.float64(),
    "renderings": TEXTS,  # sha256 of each image
    "drawn": BOOLEAN,  # whether these are the adapter's own drawings, because no hub shows it
    "listing_digest": TEXT,
    "captions_digest": TEXT,
    "recipe": TEXT,
    "fingerprint": pa.list_(pa.float32(), WIDTH),
}
RENDERINGS = {
    "id": TEXT,
    "adapter": TEXT,
    "image": TEXT,
    "width": INTEGER,
    "height": INTEGER,
    "url": TEXT,
    "prompt": TEXT,
}
CAPTIONS = {"id": TEXT, "image": TEXT, "prompt": TEXT, "vlm": TEXT, "length": TEXT, "text": TEXT}
PROMPTS = {
    "id": TEXT,
    "adapter": TEXT,
    "family": TEXT,
    "split": TEXT,
    "image": TEXT,
    "length": TEXT,
    "text": TEXT,
}
TABLES = {"adapters": ADAPTERS, "renderings": RENDERINGS, "captions": CAPTIONS, "prompts": PROMPTS}
"""columns by table; the first column of a table is its key"""
INEXACT = frozenset({"norm", "fingerprint"})
"""columns that row hashes leave out: floating-point sums whose last bits differ between machines"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRow:
    """An adapter that the models are trained on, or that is held out for validation or tests."""

    sha256: str
    family: str
    split: Split
    renderings: tuple[str, ...]
    """sha256 of the images whose captions count: those that had captions when the lock was written"""
    drawn: bool = False
    """whether the images are the adapter's own drawings"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingLock:
    """The content of data/training.jsonl: which adapters, images and captions the models are trained on."""

    train_until: datetime.date | None
    """None if the lock does not exist yet"""
    recipe: CaptionRecipe | None
    """of the captions that count; None: a lock without captions"""
    rows: tuple[TrainingRow, ...]

    def in_split(self, split: Split) -> tuple[TrainingRow, ...]:
        """Return the rows of one split."""
        return tuple(row for row in self.rows if row.split == split)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """An evaluation query: a caption of an adapter of a family that the models are not trained on."""

    text: str
    length: str
    adapter: str
    """sha256 of the adapter whose rendering the text describes"""
    family: str
    split: Split
    """validation, or test"""
    image: str
    """sha256 of that rendering"""


def folder(root: Path) -> Path:
    """Return the folder of the LanceDB database."""
    return root / "data" / "dataset"


def training_lock(root: Path) -> TrainingLock:
    """Return the training lock; an empty one if the file does not exist."""
    lines = list(read_rows(root / TRAINING_LOCK))
    if not lines:
        return TrainingLock(train_until=None, recipe=None, rows=())
    head, rows = lines[0], (line | {"renderings": tuple(line["renderings"])} for line in lines[1:])
    recipe = head.get("recipe")
    return TrainingLock(
        train_until=datetime.date.fromisoformat(head["train_until"]),
        recipe=CaptionRecipe(**recipe) if recipe else None,
        rows=tuple(TrainingRow(**row) for row in rows),
    )


def locked_captions(root: Path) -> dict[str, tuple[Caption, ...]]:
    """Return rendering sha256 -> the captions that models are trained on, sorted as `group_by_image` does.

    These are the captions by the lock's recipe of the lock's images, as far as the stage `captions` has them.
    """
    lock = training_lock(root)
    images = {image for row in lock.rows for image in row.renderings}
    return group_by_image(
        caption
        for caption in read_captions(root)
        if caption.image in images and (lock.recipe is None or lock.recipe.made(caption))
    )


def rows(root: Path, table: str, columns: Sequence[str] = ()) -> list[Row]:
    """Return the rows of one table, sorted by key (the first of `columns`); by default all columns but fingerprints.

    Raises MissingArtifact if the stage has not run.
    """
    return read_table(
        folder(root), table, columns or [name for name in TABLES[table] if name != "fingerprint"]
    )


def prompts(root: Path) -> list[Prompt]:
    """Return the evaluation queries, sorted by adapter, image and length."""
    names = ("text", "length", "adapter", "family", "split", "image")
    unsorted = [
        Prompt(**{name: row[name] for name in names}) for row in rows(root, "prompts", ("id", *names))
    ]
    return sorted(unsorted, key=lambda prompt: (prompt.adapter, prompt.image, prompt.length, prompt.text))


def captions_by_image(root: Path) -> dict[str, tuple[Caption, ...]]:
    """Return rendering sha256 -> captions, from the dataset."""
    names = ("image", "prompt", "vlm", "length", "text")
    return group_by_image(Caption(**{name: row[name] for name in names}) for row in rows(root, "captions"))


def group_by_image(captions: Iterable[Caption]) -> dict[str, tuple[Caption, ...]]:
    """Return rendering sha256 -> captions, sorted by image, length, prompt and VLM."""
    groups: dict[str, list[Caption]] = {}
    for caption in sorted(captions, key=lambda c: (c.image, c.length, c.prompt, c.vlm)):
        groups.setdefault(caption.image, []).append(caption)
    return {image: tuple(group) for image, group in groups.items()}
