"""The dataset on disk: LanceDB tables in data/dataset, and the training lock data/training.jsonl."""

import datetime
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from autolora.dataset.families import Split
from autolora.lora.fingerprint import WIDTH
from autolora.records import Caption
from autolora.storage.files import Row, read_rows
from autolora.storage.tables import read_table

SCHEMA = 2
LOCK = "data/training.jsonl"

TEXT, TEXTS, WHOLE, FLAG = pa.string(), pa.list_(pa.string()), pa.int64(), pa.bool_()
ADAPTERS = {
    "sha256": TEXT,
    "family": TEXT,
    "split": TEXT,
    "first_seen": pa.date32(),
    "hub": TEXT,
    "id": TEXT,
    "version": TEXT,
    "file": TEXT,
    "origins": TEXTS,  # hub:id of every listing of the file
    "license": TEXT,
    "commercial": FLAG,
    "derivatives": FLAG,
    "credit": FLAG,
    "base_model": TEXT,
    "base": TEXT,
    "nsfw": FLAG,
    "nsfw_level": TEXT,
    "person": FLAG,
    "minor": FLAG,
    "trigger_words": TEXTS,
    "layout": TEXT,
    "num_slots": WHOLE,
    "rank_max": WHOLE,
    "norm": pa.float64(),
    "renderings": TEXTS,  # sha256 of pictures
    "listing_digest": TEXT,
    "captions_digest": TEXT,
    "recipe": TEXT,
    "fingerprint": pa.list_(pa.float32(), WIDTH),
}
RENDERINGS = {
    "id": TEXT,
    "adapter": TEXT,
    "image": TEXT,
    "width": WHOLE,
    "height": WHOLE,
    "url": TEXT,
    "prompt": TEXT,
}
CAPTIONS = {"id": TEXT, "image": TEXT, "prompt": TEXT, "vlm": TEXT, "length": TEXT, "text": TEXT}
PROMPTS = {"id": TEXT, "adapter": TEXT, "family": TEXT, "image": TEXT, "length": TEXT, "text": TEXT}
TABLES = {"adapters": ADAPTERS, "renderings": RENDERINGS, "captions": CAPTIONS, "prompts": PROMPTS}
INEXACT = frozenset({"norm", "fingerprint"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRow:
    """An adapter that the models have learned from, or were tested on."""

    sha256: str
    family: str
    split: Split
    renderings: tuple[str, ...]
    """sha256 of its pictures when the lock was made"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingLock:
    """data/training.jsonl: what the models have learned from."""

    train_until: datetime.date | None
    """None where there is no lock yet"""
    rows: tuple[TrainingRow, ...]

    def of(self, side: Split) -> tuple[TrainingRow, ...]:
        """Return the rows of one side of the split."""
        return tuple(row for row in self.rows if row.split == side)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """An evaluation query: a caption of an adapter that the models have not learned from."""

    text: str
    length: str
    adapter: str
    """sha256 of the adapter whose rendering it describes"""
    family: str
    image: str
    """sha256 of that rendering"""


def folder(root: Path) -> Path:
    """Return the folder of the LanceDB database."""
    return root / "data" / "dataset"


def training(root: Path) -> TrainingLock:
    """Read the training lock; empty where there is none."""
    lines = list(read_rows(root / LOCK))
    if not lines:
        return TrainingLock(train_until=None, rows=())
    rows = (TrainingRow(**(line | {"renderings": tuple(line["renderings"])})) for line in lines[1:])
    return TrainingLock(train_until=datetime.date.fromisoformat(lines[0]["train_until"]), rows=tuple(rows))


def rows(root: Path, table: str) -> list[Row]:
    """Return the rows of one table, sorted by key, without fingerprints.

    Raises MissingArtifact when the stage has not run.
    """
    return read_table(folder(root), table, [column for column in TABLES[table] if column != "fingerprint"])


def prompts(root: Path) -> list[Prompt]:
    """Return the evaluation queries, sorted by adapter, image and length."""
    names = ("text", "length", "adapter", "family", "image")
    found = [Prompt(**{name: row[name] for name in names}) for row in rows(root, "prompts")]
    return sorted(found, key=lambda prompt: (prompt.adapter, prompt.image, prompt.length, prompt.text))


def captions_of(root: Path) -> dict[str, tuple[Caption, ...]]:
    """Return rendering sha256 -> its captions, from the dataset."""
    names = ("image", "prompt", "vlm", "length", "text")
    return by_image(Caption(**{name: row[name] for name in names}) for row in rows(root, "captions"))


def by_image(captions: Iterable[Caption]) -> dict[str, tuple[Caption, ...]]:
    found: dict[str, list[Caption]] = {}
    for caption in sorted(captions, key=lambda one: (one.image, one.length, one.prompt, one.vlm)):
        found.setdefault(caption.image, []).append(caption)
    return {image: tuple(group) for image, group in found.items()}
