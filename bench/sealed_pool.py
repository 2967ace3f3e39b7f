"""The sealed pool in repositories of its own, after both days of the pipeline, for `bench.sealed`.

One repository is what the pipeline makes of the pool. The other one lacks the captions with words that describe a style
without its name, so that prompts in these words share none with a caption; its encoder and index are made without them.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from autolora.captions.store import captions_path, read_captions
from autolora.dataset.store import TRAINING_LOCK
from autolora.errors import MismatchError, MissingArtifact
from autolora.matching.words import split_words
from autolora.metrics.numbers import to_json
from autolora.stages import STAGES
from autolora.storage.files import read_json, read_rows, write_atomic, write_rows
from autolora.storage.hashes import hash_file
from bench.processes import PROJECT, prefect_server, run_measured
from playground.demo import DATES
from playground.hubs.server import start
from playground.hubs.state import Hub
from playground.themes import MIXED

FIRST_DAY = ("crawl", "pool", "captions", "dataset", "concepts", "encoder", "index")
SECOND_DAY = ("crawl", "pool", "captions", "dataset", "index")
"""stages of each day: the encoder is not trained again"""
WITH_OTHER_CAPTIONS = ("dataset", "concepts", "encoder", "index")
"""stages that run again if captions are hidden"""
PROGRESS = "progress.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedLora:
    """A LoRA of the sealed pool, with what only the evaluation reads."""

    sha256: str
    repo: str
    theme: str
    """what its weights do"""
    shown: str
    """what its gallery shows: another theme if it is mislabelled"""
    quality: str
    captioning: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class SealedPrompt:
    """A prompt of the sealed test."""

    text: str
    kind: str
    subject: str
    """prompts of one subject are resampled together"""
    themes: frozenset[str]
    """those that fit it"""
    images: tuple[str, ...]
    """sha256 of the renderings that it describes"""
    loras: frozenset[str]
    """sha256 of the LoRAs in whose galleries they are"""

    @property
    def asked(self) -> set[str]:
        """The themes that it asks for, without mixtures of them."""
        return single_themes(self.themes)


@dataclass(frozen=True, eq=False)
class SealedPool:
    """The folder that `python -m playground.sealed` writes."""

    home: Path

    @cached_property
    def loras(self) -> list[SealedLora]:
        """All LoRAs. Raises MissingArtifact if the pool is not built."""
        if not (self.home / "labels.jsonl").exists():
            raise MissingArtifact(
                f"{self.home} does not hold the sealed pool: build it with `make playground-162`, which takes hours"
            )
        return [SealedLora(**row) for row in read_rows(self.home / "labels.jsonl")]

    @cached_property
    def prompts(self) -> list[SealedPrompt]:
        """The prompts of both sets; of a smaller pool, those that it can answer."""
        rows = [
            row
            for name in ("described", "out_of_distribution")
            for row in read_rows(self.home / f"{name}.jsonl")
        ]
        return [prompt for row in rows if (prompt := self._read_prompt(row))]

    def _read_prompt(self, row: Mapping[str, Any]) -> SealedPrompt | None:
        """Return a prompt; None if a rendering or a theme is missing from the pool."""
        paths = [self.home / "pool" / path for path in row["renderings"]]
        if not all(path.exists() for path in paths):
            return None
        owners = {lora.repo: lora.sha256 for lora in self.loras}
        prompt = SealedPrompt(
            row["prompt"],
            row["kind"],
            row["subject"],
            frozenset(row["themes"]),
            tuple(hash_file(path) for path in paths),
            frozenset(owners["/".join(path.split("/")[:2])] for path in row["renderings"]),
        )
        present = {lora.theme for lora in self.loras} & prompt.themes
        return prompt if prompt.asked <= single_themes(present) else None

    @cached_property
    def held_out(self) -> frozenset[str]:
        """The themes of which no LoRA is in the training lock."""
        return frozenset(lora.theme for lora in self.loras if lora.held_out)

    @cached_property
    def commits(self) -> list[str]:
        """The commits from which it was built, in order; "-dirty" if files differed from one.

        Raises MissingArtifact if they are not recorded.
        """
        recipe = read_json(self.home / "recipe.json")
        if recipe is None:
            raise MissingArtifact(
                f"{self.home} does not say from which commit it was built: `python -m playground.sealed -o "
                f"{self.home}` writes recipe.json, and trains only what is missing"
            )
        return [str(commit) for commit in recipe["commits"]]


def single_themes(themes: Collection[str]) -> set[str]:
    """Return themes with mixtures replaced by their parts."""
    return {part for theme in themes for part in theme.split(MIXED)}


def run_pipeline(pool: SealedPool, root: Path, commit: str) -> None:
    """Run both days of the pipeline on the pool in the repository `root`; days that are finished are not run again.

    commit: of the code. Raises MismatchError if the repository was made from another pool or by another commit.
    """
    source = {"labels": hash_file(pool.home / "labels.jsonl"), "commit": commit}
    progress = read_json(root / PROGRESS) or source | {"finished": 0}
    if progress != source | {"finished": progress["finished"]}:
        raise MismatchError(
            f"{root} was made from another pool or commit: remove {root.parent}, and start again"
        )
    days = {1: FIRST_DAY, 2: SECOND_DAY}
    left = [day for day in days if day > progress["finished"]]
    if not left:
        return
    with served(pool.home / "pool") as (hub, endpoint):
        write_repository(root, {"hubs": {"huggingface": {"endpoint": endpoint}}}, pool.home)
        for day in left:
            hub.change({"day": day})
            run_stages(root, days[day], day)
            write_atomic(root / PROGRESS, to_json(source | {"finished": day}))


@contextmanager
def served(pool: Path) -> Iterator[tuple[Hub, str]]:
    """Serve the pool while the block runs; yield the hub, as of the first day, and its URL."""
    hub = Hub(pool, day=1)
    try:
        yield hub, start(hub)
    finally:
        hub.stop()


def write_repository(root: Path, changes: Mapping[str, Any], home: Path) -> None:
    """Write params, code digests and a link to the playground into a repository. changes: of params.yaml."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["evaluation"]["themes"] = str((home / "themes.json").absolute())
    for section, content in changes.items():
        values[section] |= content
    write_atomic(root / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    for stage in STAGES:
        name = Path("digests", "code", f"{stage}.json")
        write_atomic(root / name, (PROJECT / name).read_text(encoding="utf-8"))
    if not (root / "playground").is_symlink():
        (root / "playground").symlink_to(PROJECT / "playground")


def run_stages(root: Path, stages: Collection[str], day: int) -> None:
    """Run stages of the pipeline as of a day."""
    seconds = int(datetime.combine(DATES[day], datetime.min.time(), UTC).timestamp())
    with prefect_server(root / "prefect") as api:
        settings = (f"SOURCE_DATE_EPOCH={seconds}", f"PREFECT_API_URL={api}")
        for stage in stages:
            run_measured(root, "env", *settings, "python", "-m", f"flows.{stage}")


def hide_words(root: Path, hidden: Path, home: Path, words: Collection[str]) -> None:
    """Make the repository `hidden` of the same pool and training lock without the captions that contain a word."""
    if (hidden / PROGRESS).exists():
        return
    shutil.rmtree(hidden, ignore_errors=True)
    write_repository(hidden, {}, home)
    captions = [row for row in read_captions(root) if not {*words} & {*split_words(row.text)}]
    write_rows(captions_path(hidden), map(asdict, captions))
    for name in ("data/catalog.jsonl", TRAINING_LOCK, "digests/pool.json", "digests/captions.json"):
        write_atomic(hidden / name, (root / name).read_text(encoding="utf-8"))
    (hidden / "data" / "pool").symlink_to((root / "data" / "pool").absolute())
    run_stages(hidden, WITH_OTHER_CAPTIONS, 2)
    write_atomic(hidden / PROGRESS, to_json({"captions": len(captions)}))
