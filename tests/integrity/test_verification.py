"""What a verification finds, fault by fault, in a real repository."""

import logging
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora import progress
from autolora.catalog import store as catalog
from autolora.cli import app
from autolora.errors import MissingArtifact
from autolora.index.served import open_index
from autolora.integrity.content import ContentReader
from autolora.integrity.verification import DAMAGED, EMPTY, EXTRA, MISSING, NOT_ERASED
from autolora.releases.checks import GATE
from autolora.storage.files import MB
from autolora.storage.inputs import recording_input
from playground.repository import change_params
from tests.integrity.faults import FAULTS, empty, flip_bit, truncate
from tests.integrity.versioned_repository import VersionedRepository
from tests.support.synthetic_repo import file_states
from tests.support.waiting import wait_for_line

pytestmark = pytest.mark.slow

FILES = {
    "data/pool/batches/*/weights/*": "weights",
    "data/pool/batches/*/renderings/*": "renderings",
    "data/pool/sketches/*.safetensors": "sketches",
    "data/pool/adapters.jsonl": "pool",
    "data/pool/batches.jsonl": "pool",
    "data/catalog/*.jsonl": "pool",
    "data/captions/*": "captions",
    "data/dataset/*/data/*": "dataset",
    "data/dataset/*/_versions/*": "dataset",
    "data/encoder/model.safetensors": "encoder",
    "data/index/meta.json": "index",
    "digests/index.json": "index",
    "metrics/index.json": "index",
    "cache/index/*/meta.json": "copies",
    "cache/index/*/weights_vectors.npy": "copies",
    "cache/index/*/columns.arrow": "copies",
    ".dvc/cache/files/md5/*/*.dir": "lists",
}  # fmt: skip


def test_an_intact_repository_has_no_finding_and_is_not_changed(repository: VersionedRepository) -> None:
    before = file_states(repository.root)
    report = repository.verify()
    assert (report.findings, report.unversioned) == ((), ())
    assert file_states(repository.root) == before
    assert set(report.files) == {*FILES.values()}
    assert report.read == sum(report.files.values())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found_in_each_kind_of_file(
    repository: VersionedRepository, fault: Callable[[Path], None]
) -> None:
    paths = {pattern: repository.file(pattern) for pattern in FILES if not pattern.startswith(".dvc")}
    for path in paths.values():
        fault(path)
    found = {finding.path: (finding.kind, finding.problem) for finding in repository.verify().findings}
    expected = {
        str(path.relative_to(repository.root)): (FILES[pattern], FAULTS[fault])
        for pattern, path in paths.items()
    }
    assert found.items() >= expected.items()
    others = {path for path in found if path not in expected}
    assert len(others) <= 1, "a bit of batches.jsonl can name another member"


def test_decisions_of_the_gate_that_cannot_be_read_are_found(repository: VersionedRepository) -> None:
    path = repository.root / GATE
    for text in ("<<<<<<< HEAD\n", '{"day": "2026-01-05"}\n'):
        path.write_text(text)
        (finding,) = repository.verify().findings
        assert (finding.path, finding.problem) == ("data/gate.jsonl", DAMAGED)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_a_list_is_found(repository: VersionedRepository, fault: Callable[[Path], None]) -> None:
    (pattern,) = (pattern for pattern in FILES if pattern.startswith(".dvc"))
    paths = sorted(repository.root.glob(pattern))
    for path in paths:
        fault(path)
    found = {finding.path: finding.problem for finding in repository.verify().findings}
    assert len(found) >= 5 and set(found.values()) == {FAULTS[fault]}
    assert set(found) <= {str(path.relative_to(repository.root)) for path in paths}


def test_a_damaged_link_is_one_finding_that_names_the_object(repository: VersionedRepository) -> None:
    path = repository.file("data/pool/batches/*/weights/*")
    flip_bit(path)
    (finding,) = repository.verify().findings
    assert finding.expected == f"sha256:{path.stem}"
    assert finding.linked_object is not None
    assert (repository.root / finding.linked_object).samefile(path)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_an_object_alone_is_found(
    repository: VersionedRepository, fault: Callable[[Path], None]
) -> None:
    path = repository.file("data/pool/batches/*/weights/*")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    linked = [p for p in repository.root.glob(".dvc/cache/files/md5/*/*") if p.read_bytes() == content]
    fault(linked[0])
    (finding,) = repository.verify().findings
    assert (repository.root / finding.path, finding.kind) == (linked[0], "objects")
    assert finding.problem == FAULTS[fault]


def test_a_changed_or_removed_model_and_another_one_are_named_and_no_finding(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"one")
    params = repository.root / "params.yaml"
    content = params.read_text()
    change_params(params, {"encoder": {"from": str(model)}})
    with recording_input(repository.root, "encoder.from", str(model)):
        pass
    assert repository.verify().changed_inputs == ()
    (model / "config.json").write_bytes(b"one and two")
    report = repository.verify()
    assert report.findings == () and len(report.changed_inputs) == 1
    assert report.changed_inputs[0].startswith(f"{model} has changed since the stage 'encoder' read it")
    (model / "config.json").unlink()
    (phrase,) = repository.verify().changed_inputs
    assert phrase.startswith(f"{model}, which encoder.from in params.yaml names, has been removed")
    params.write_text(content)
    (phrase,) = repository.verify().changed_inputs
    assert phrase.startswith(
        f"encoder.from in params.yaml is null, but the last run of the stage 'encoder' had {model}"
    )


def test_files_of_a_batch_that_dvc_has_no_version_of_are_checked(repository: VersionedRepository) -> None:
    (record,) = (repository.root / "data/pool/batches").glob("*.dvc")
    repository.run("git", "rm", "-q", str(record))
    repository.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "x")
    report = repository.verify()
    assert report.findings == () and report.unversioned == (str(record.relative_to(repository.root))[:-4],)
    empty(repository.file("data/pool/batches/*/renderings/*"))
    flip_bit(repository.file("data/pool/batches/*/weights/*"))
    found = {finding.kind: finding.problem for finding in repository.verify().findings}
    assert found == {"renderings": EMPTY, "weights": DAMAGED}


def test_a_clone_without_data_is_one_line_with_the_command(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the files of a batch, whose list of files is missing, and not a file whose object DVC's cache holds."""
    missing = repository.file("data/pool/sketches/*.safetensors")
    missing.unlink()
    assert missing.name in verify_by_command(repository.root, monkeypatch)[0]
    repository.add_remote()
    repository.remove_cache()
    shutil.rmtree(repository.root / "data")
    repository.run("git", "checkout", "HEAD", "--", "data")
    line, command = (
        line for line in verify_by_command(repository.root, monkeypatch) if "cache/index" not in line
    )
    assert re.match(r"missing  \d+ files, e\.g\. \.dvc/cache/.*, .*, .*", line) and command == "    dvc pull"


def verify_by_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines of findings that `autolora verify` prints, and the commands that mend them."""
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["verify"])
    assert result.exit_code == 1, result.output
    return [line for line in result.stdout.splitlines() if line.startswith((MISSING, DAMAGED, EXTRA, "    "))]


def test_extra_files_are_found(repository: VersionedRepository) -> None:
    folders = [
        repository.file(pattern).parent for pattern in FILES if not pattern.startswith((".dvc", "digests"))
    ]
    tracked = [folder for folder in folders if folder.name not in ("data", "pool", "sketches", "metrics")]
    extra = {folder / "sub" / "extra.json" for folder in tracked}
    for path in extra:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    findings = repository.verify().findings
    assert {repository.root / finding.path for finding in findings} == extra
    assert {finding.problem for finding in findings} == {EXTRA}


def test_a_catalog_that_is_newer_than_the_last_commit_is_checked_as_a_whole(
    repository: VersionedRepository,
) -> None:
    listings = catalog.read_all(repository.root)
    catalog.write(repository.root, [replace(listing, license="new") for listing in listings])
    repository.run("dvc", "commit", "-f", "-q", "pool")
    assert repository.verify().findings == ()
    flip_bit(repository.file("data/catalog/*.jsonl"))
    (finding,) = repository.verify().findings
    assert (finding.path, finding.problem) == ("data/catalog", DAMAGED)
    assert repository.commands() == ["git checkout HEAD -- data/catalog"]


@pytest.mark.parametrize("content", ["", "outs:\n- md5: 12", "{", None])
def test_damaged_records_of_dvc_are_found(repository: VersionedRepository, content: str | None) -> None:
    paths = [repository.file(pattern) for pattern in ("data/pool/*/*.dvc", "dvc.lock")]
    for path in paths:
        path.unlink()
        if content is not None:
            path.write_text(content)
    found = {finding.path: finding.kind for finding in repository.verify().findings}
    assert found == {str(path.relative_to(repository.root)): "records" for path in paths}


def test_a_file_that_was_taken_down_is_expected_to_be_empty(repository: VersionedRepository) -> None:
    path = repository.file("data/pool/batches/*/weights/*")
    repository.list_takedown(path)
    (finding,) = repository.verify().findings
    assert (finding.problem, finding.detail) == (EXTRA, NOT_ERASED)
    empty(path)
    assert repository.verify().findings == ()
    path.unlink()
    assert repository.verify().findings == ()


@pytest.mark.parametrize("ref", ["refs/heads/later", "refs/remotes/origin/later"])
def test_a_takedown_counts_that_only_another_branch_lists(repository: VersionedRepository, ref: str) -> None:
    path = repository.file("data/pool/batches/*/weights/*")
    repository.commit_takedown_elsewhere(path, ref)
    (finding,) = repository.verify().findings
    assert (finding.problem, finding.detail) == (EXTRA, NOT_ERASED)
    empty(path)
    assert repository.verify().findings == ()


def test_listed_objects_of_other_versions_are_expected_to_be_empty(repository: VersionedRepository) -> None:
    md5 = "0" * 31 + "1"
    object_ = repository.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    repository.list_takedown(Path("f" * 64), md5)
    assert repository.verify().findings == ()
    object_.parent.mkdir(parents=True, exist_ok=True)
    object_.write_bytes(b"content")
    (finding,) = repository.verify().findings
    assert (repository.root / finding.path, finding.problem, finding.kind) == (object_, EXTRA, "takedowns")
    empty(object_)
    assert repository.verify().findings == ()


def test_a_committed_list_that_is_not_valid_is_named(repository: VersionedRepository) -> None:
    (repository.root / "data/takedowns.jsonl").write_text("{}\n")
    repository.commit_elsewhere("refs/heads/later")
    with pytest.raises(MissingArtifact, match=r"the tip of a branch, is not a valid list"):
        repository.verify()


def test_a_sample_reads_few_files_and_finds_all_that_are_missing(repository: VersionedRepository) -> None:
    whole = repository.verify()
    sample = repository.verify(sample=5)
    assert sample.read == 5 and 0 < sample.bytes < whole.bytes
    repository.file("data/pool/batches/*/weights/*").unlink()
    flip_bit(repository.file("data/captions/*"))
    reports = [repository.verify(sample=20, seed=seed) for seed in range(30)]
    assert all(MISSING in {finding.problem for finding in report.findings} for report in reports)
    assert 0 < sum(DAMAGED in {finding.problem for finding in report.findings} for report in reports) < 30
    assert reports[3].to_row()["findings"] == repository.verify(sample=20, seed=3).to_row()["findings"]


def test_linked_files_are_read_once(repository: VersionedRepository) -> None:
    total = sum({path.stat().st_ino: path.stat().st_size for path in repository.files()}.values())
    assert repository.verify().bytes <= total


def test_a_released_copy_is_missing_if_no_commit_has_its_index(repository: VersionedRepository) -> None:
    copies = sorted((repository.root / "cache/index").iterdir())
    served = (repository.root / "cache/served").read_text().strip()
    (other,) = [path for path in copies if path.name != served]
    (repository.root / "cache/served").write_text(other.name)
    shutil.rmtree(other)
    assert repository.verify().findings == () and open_index(repository.root).digest == other.name
    (repository.root / "cache/served").write_text("0" * 64)
    (finding,) = repository.verify().findings
    assert (finding.path, finding.problem) == (f"cache/index/{'0' * 64}/hashes.json", MISSING)
    (repository.root / "cache/served").write_text("x")
    (finding,) = repository.verify().findings
    assert (finding.path, finding.problem) == ("cache/served", DAMAGED)


def test_a_copy_without_hashes_is_found(repository: VersionedRepository) -> None:
    path = repository.file("cache/index/*/hashes.json")
    truncate(path)
    (finding,) = repository.verify().findings
    assert (repository.root / finding.path, finding.problem) == (path, DAMAGED)
    path.unlink()
    (finding,) = repository.verify().findings
    assert (repository.root / finding.path, finding.problem) == (path, MISSING)


def test_a_long_verification_logs_what_it_has_read(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    monkeypatch.setattr(progress, "INTERVAL_S", 0.001)
    sha256 = ContentReader.sha256
    monkeypatch.setattr(
        ContentReader, "sha256", lambda *arguments: (wait_for_line(caplog), sha256(*arguments))[1]
    )
    report = repository.verify()
    lines = [record.getMessage() for record in caplog.records]
    pattern = rf"\[verify\] \d+ of {math.ceil(report.bytes / MB)} MB, .*, \d+ files"
    assert lines and all(re.fullmatch(pattern, line) for line in lines)
    assert any(0 < int(line.split()[-2]) < report.read for line in lines)
