"""Restoring what can be computed again: sketch packs from weights, and outputs of stages by running the stage."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from autolora import models
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import Output, run_dvc
from autolora.integrity.expected import ExpectedFile
from autolora.integrity.placement import install, move, work_folder
from autolora.integrity.sources import has_md5
from autolora.integrity.taken_down import read_taken_down
from autolora.integrity.verification import EXTRA, Finding
from autolora.params import Params
from autolora.pool import batches, sketch_packs
from autolora.pool.ingest import read_adapter
from autolora.pool.near_duplicates import should_be_stored
from autolora.pool.recipe import ReadRecipe
from autolora.pool.store import table_path
from autolora.records import Adapter
from autolora.storage.files import read_json, read_rows, write_atomic
from autolora.storage.incremental import digest_path

RECOMPUTED = ("captions", "dataset", "index", "evaluation")
"""stages that need neither hubs nor a training, in the order in which they run"""
TRAININGS = ("encoder", "fusion", "experiments")

logger = logging.getLogger(__name__)


class Packs:
    """The weights of the pool: for sketch packs of the current recipe."""

    def __init__(self, root: Path, params: Params, reader: ContentReader) -> None:
        self._root, self._params, self._reader = root, params, reader
        self.accepted: set[Path] = set()
        """packs that were recomputed with other bytes, as another processor does"""

    def offer(self, finding: Finding) -> str | None:
        """Offer the weights of a batch if they are all intact and the pack has the current recipe."""
        file = finding.file
        if finding.kind != "sketches" or file is None or file.path is None or finding.problem == EXTRA:
            return None
        return "its batch's weights, by computing it again" if self._keys(file.path) else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Write the packs."""
        failures = {}
        models.set_threads(self._params.models)
        for finding in findings:
            assert finding.file is not None
            try:
                self._write(finding.file)
            except AutoLoraError as error:
                failures[finding.path] = str(error)
        return failures

    def _write(self, file: ExpectedFile) -> None:
        """Read the weights of a batch and write the pack of their sketches."""
        assert file.path is not None and self._recipe is not None
        folder = work_folder(self._root) / file.path.name
        try:
            sketches: dict[str, Path] = {}
            for sha256, key in self._keys(file.path).items():
                path = batches.file_path(self._root, "weights", sha256)
                row, sketch = read_adapter(path.resolve(), key, sha256, self._recipe)
                if sketch is None:
                    raise MissingArtifact(f"{path} is refused today ({row.reason})")
                sketches[sha256] = folder / sha256
                write_atomic(sketches[sha256], sketch_packs.serialize_sketch(sketch))
            new = folder / "pack"
            sketch_packs.write_pack(new, sketches)
            if not has_md5(self._reader, new, file.md5):
                self.accepted.add(file.path)
            install(new, file.path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _keys(self, pack: Path) -> dict[str, str]:
        """Return sha256 -> key of the adapters of a pack; empty if it cannot be computed again.

        They are those of its batch that are in no other pack; so of several damaged packs of a batch none can be
        computed again.
        """
        match = sketch_packs.NAME.fullmatch(pack.name)
        if match is None or self._recipe is None or match["recipe"] != self._recipe.digest:
            return {}
        try:
            others = self._other_packs(pack, match["batch"])
            packed = {sha256 for other in others for sha256 in sketch_packs.read_adapters(other)}
        except (MissingArtifact, OSError):
            return {}
        keys = {
            sha256: self._stored[sha256]
            for sha256, batch in batches.members(self._root)["weights"].items()
            if batch == match["batch"] and sha256 in self._stored and sha256 not in packed
        }
        return keys if all(self._is_intact(sha256) for sha256 in keys) else {}

    def _other_packs(self, pack: Path, batch: str) -> list[Path]:
        """Return the other packs of the same batch and recipe, on disk or known to DVC."""
        names = {path.name.removesuffix(".dvc") for path in pack.parent.glob(f"{batch}-*") if path != pack}
        matches = {name: sketch_packs.NAME.fullmatch(name) for name in names - {pack.name}}
        recipe = sketch_packs.recipe_of(pack.name)
        return [
            pack.with_name(name)
            for name, match in matches.items()
            if match and match["batch"] == batch and match["recipe"] == recipe
        ]

    def _is_intact(self, sha256: str) -> bool:
        try:
            return self._reader.sha256(batches.file_path(self._root, "weights", sha256)) == sha256
        except OSError:
            return False

    @cached_property
    def _recipe(self) -> ReadRecipe | None:
        """The current recipe; None if the base model's config cannot be read."""
        try:
            return ReadRecipe.for_base_model(
                models.transformer_config(self._params.models), self._params.pool
            )
        except AutoLoraError as error:
            logger.warning("sketch packs cannot be computed again: %s", error)
            return None

    @cached_property
    def _stored(self) -> Mapping[str, str]:
        """Return sha256 -> key of the adapters whose sketches of the current recipe are stored."""
        try:
            rows = [Adapter.from_row(row) for row in read_rows(table_path(self._root, "adapters"))]
        except (MissingArtifact, UnicodeDecodeError, TypeError):
            return {}
        recipe = self._recipe.digest if self._recipe else None
        return {row.sha256: row.key for row in rows if row.recipe == recipe and should_be_stored(row)}


def count_taken_down(root: Path, pack: Path) -> int:
    """Return how many weights of a sketch pack's batch were taken down."""
    match = sketch_packs.NAME.fullmatch(pack.name)
    batch = match["batch"] if match else None
    taken_down = read_taken_down(root).sha256
    return sum(
        name == batch and sha256 in taken_down for sha256, name in batches.members(root)["weights"].items()
    )


class Stages:
    """Running a stage again, for its outputs in DVC's cache; trainings only if they are allowed."""

    def __init__(self, root: Path, train: bool) -> None:
        self._root = root
        self._stages = (*RECOMPUTED, *TRAININGS) if train else RECOMPUTED

    def offer(self, finding: Finding) -> str | None:
        """Offer to run the stage that writes a damaged file, or a folder that is missing as a whole."""
        output = finding.file.output if finding.file else None
        if (
            output is None
            or output.stage not in self._stages
            or not output.in_cache
            or finding.problem == EXTRA
        ):
            return None
        assert finding.file is not None
        is_in_tree = finding.file.path is not None and self._root / finding.path == finding.file.path
        is_whole_folder = finding.file.path is None and not (self._root / output.path).exists()
        return f"a new run of the stage '{output.stage}'" if is_in_tree or is_whole_folder else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Run each stage once, in the order of the pipeline, without its damaged outputs."""
        failures: dict[str, str] = {}
        for stage in self._stages:
            of_stage = {
                finding.path: _output_of(finding)
                for finding in findings
                if _output_of(finding).stage == stage
            }
            if of_stage and (reason := self._run(stage, {output.path for output in of_stage.values()})):
                failures |= dict.fromkeys(of_stage, reason)
        return failures

    def _run(self, stage: str, paths: set[str]) -> str:
        """Run a stage; return why it failed, after putting the damaged outputs back, or how its result differs."""
        before, aside = self._digest(stage), work_folder(self._root) / "outputs"
        for path in paths:
            if (self._root / path).exists():
                move(self._root / path, aside / path)
        try:
            run_dvc(self._root, "repro", "--quiet", "--force", "--single-item", stage)
        except AutoLoraError as error:
            for path in paths:
                _remove(self._root / path)
            return_outputs(self._root)
            return str(error)
        _remove(aside)
        if self._digest(stage) != before:
            return (
                f"the digest of the stage '{stage}' has changed: run `dvc repro`, so that later stages follow"
            )
        return ""

    def _digest(self, stage: str) -> str | None:
        """Return the sha256 in the stage's digest; None if the digest is missing or damaged."""
        try:
            return (read_json(digest_path(self._root, stage)) or {}).get("sha256")
        except ValueError:
            return None


def return_outputs(root: Path) -> None:
    """Move back the outputs of stages that did not complete; also what a killed repair left."""
    aside = work_folder(root) / "outputs"
    for path in sorted(aside.rglob("*"), reverse=True):
        target = root / path.relative_to(aside)
        if path.is_file() and not target.exists():
            move(path, target)
    _remove(aside)


def _output_of(finding: Finding) -> Output:
    assert finding.file is not None and finding.file.output is not None
    return finding.file.output


def _remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
