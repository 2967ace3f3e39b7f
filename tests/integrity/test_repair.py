"""Repairs as a whole: beside a refresh, on the command line, and of random damage."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import AutoLoraError
from autolora.integrity.expected import expect_all
from autolora.storage.lock import exclusive_lock
from playground.hubs.state import Hub
from tests.integrity.faults import FAULTS, flip_bit
from tests.integrity.repairs import unlinked
from tests.integrity.versioned_repository import VersionedRepository, copy

pytestmark = pytest.mark.slow


def test_a_repair_does_not_run_beside_a_refresh(repository: VersionedRepository) -> None:
    with exclusive_lock(repository.root), pytest.raises(AutoLoraError, match="another process is changing"):
        repository.repair()


def test_commands_print_findings_and_exit_with_1(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.root)
    run = CliRunner().invoke
    assert run(app, ["verify"]).exit_code == 0
    path = unlinked(repository.file("data/captions/*"))
    flip_bit(path)
    name = str(path.relative_to(repository.root))
    text, report = run(app, ["verify"]), run(app, ["verify", "--json", "--sample", "1000", "--seed", "1"])
    assert (text.exit_code, report.exit_code) == (1, 1)
    assert f"damaged  {name}\n" in text.output and ": 1 findings" in text.output
    (row,) = json.loads(report.stdout)["findings"]
    assert (row["path"], row["kind"], row["problem"], row["expected"][:4]) == (
        name,
        "captions",
        "damaged",
        "md5:",
    )
    dry, done = run(app, ["repair"]), run(app, ["repair", "--apply"])
    assert (dry.exit_code, done.exit_code) == (0, 0)
    assert (
        f"damaged  {name}: in DVC's cache\nDVC has 1 of 1 findings: run `autolora repair --apply`"
        in dry.output
    )
    assert f"damaged  {name}: restored from DVC's cache\n1 of 1 findings repaired" in done.stdout
    flip_bit(repository.file("digests/index.json"))
    last = run(app, ["repair", "--apply"])
    assert last.exit_code == 1
    assert last.stdout.endswith(
        "damaged  digests/index.json: the last commit has it\n0 of 1 findings repaired and verified again\n"
        "to restore the others, run in this order:\n    git checkout HEAD -- digests/index.json\n"
    )


@pytest.fixture(scope="session")
def shared(
    hub_and_template: tuple[Hub, VersionedRepository], tmp_path_factory: pytest.TempPathFactory
) -> tuple[VersionedRepository, dict[str, str]]:
    """A repository with a remote, which all seeds damage in turn, and the sha256 of its intact files."""
    repository = copy(hub_and_template[1], tmp_path_factory.mktemp("shared") / "repository")
    repository.add_remote()
    return repository, repository.contents()


@pytest.mark.long(full=1000, sample=6)
def test_random_damage_is_found_and_repaired(
    shared: tuple[VersionedRepository, dict[str, str]], seed: int
) -> None:
    repository, before = shared
    draw = random.Random(seed)
    files = sorted({path.stat().st_ino: path for path in versioned_files(repository)}.values())
    damaged = draw.sample(files, draw.randint(1, 4))
    damaged = [path for path in damaged if describes_others(path)][:1] or damaged
    for path in damaged:
        draw.choice([*FAULTS])(path)
    findings = repository.verify().findings
    found = {name for finding in findings for name in (finding.path, finding.linked_object)}
    assert {str(path.relative_to(repository.root)) for path in damaged} <= found
    repaired = set[str]()
    for _ in range(3):  # lists and records make the files known that they describe
        repairs = repository.repair()
        repaired |= {repair.finding.path for repair in repairs}
        repository.run_commands_of(repairs)
    assert repository.verify().findings == ()
    after = repository.contents()
    assert without_copies(after) == without_copies(before)
    assert {finding.path for finding in findings} <= repaired


def versioned_files(repository: VersionedRepository) -> list[Path]:
    """Return all files with content of the current versions and copies; no former objects and records of DVC."""
    expectation = expect_all(repository.root)
    paths = {path for file in expectation.files for path in (file.path, file.object) if path}
    hashes = repository.root.glob("cache/index/*/hashes.json")
    return sorted(path for path in paths | set(hashes) if path.stat().st_size)


def describes_others(path: Path) -> bool:
    """Return whether a file contains the hashes of others, which are not checked while it is damaged."""
    return path.suffix == ".dir" or path.name == "hashes.json"


def without_copies(contents: dict[str, str]) -> dict[str, str]:
    """Leave out the copies of the index, whose files differ each time they are written."""
    return {path: sha256 for path, sha256 in contents.items() if not path.startswith("cache/index/")}
