"""What a repair restores through DVC: from its cache, and from its remote."""

import shutil
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from autolora.index.served import open_index
from autolora.index.store import content_digest
from autolora.integrity import dvc_records, repair
from autolora.integrity.expected import expect_all
from autolora.integrity.repair import CACHE
from tests.integrity.faults import FAULTS, empty, flip_bit, rewrite, truncate
from tests.integrity.repairs import IMAGES, PACK, REMOTE, WEIGHTS, sources, unlinked
from tests.integrity.versioned_repository import VersionedRepository

pytestmark = pytest.mark.slow


def test_the_cache_restores_files_of_the_working_tree(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [
        repository.file(pattern) for pattern in (WEIGHTS, IMAGES, "data/pool/adapters.jsonl", "data/index/*")
    ]
    for path, fault in zip(paths, FAULTS, strict=True):
        fault(unlinked(path))
    names = {str(path.relative_to(repository.root)) for path in paths}
    planned = repository.plan()
    assert sources(planned) == dict.fromkeys(names, CACHE)
    assert {finding.path for finding in repository.verify().findings} == names, "a dry run changes nothing"
    assert sources(repository.repair()) == sources(planned)
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths), "linked again"


def test_the_remote_restores_what_is_damaged_in_tree_and_cache(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.add_remote()
    paths = [repository.file(pattern) for pattern in (WEIGHTS, IMAGES, PACK, "data/encoder/*")]
    for path in paths:
        flip_bit(path)
    planned = repository.plan()
    assert sources(planned) == {str(path.relative_to(repository.root)): REMOTE for path in paths}
    assert sources(repository.repair()) == sources(planned)
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths), "linked again"


def test_a_fetch_that_fails_is_said_and_keeps_nothing_else_back(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_dvc(root: Path, command: str, *arguments: str) -> str:
        if command == "fetch":
            raise MissingArtifact("the connection was lost")
        return dvc_records.run_dvc(root, command, *arguments)

    repository.add_remote()
    paths = [repository.file(pattern) for pattern in (WEIGHTS, IMAGES)]
    flip_bit(paths[0])
    flip_bit(unlinked(paths[1]))
    names = [str(path.relative_to(repository.root)) for path in paths]
    monkeypatch.setattr(repair, "run_dvc", run_dvc)
    repairs = {row.finding.path: row for row in repository.repair()}
    assert repairs[names[1]].source == CACHE
    assert names[0] in (left := {row.path for row in repository.verify().findings}) and names[1] not in left
    assert repairs[names[0]].reason.startswith(
        f"{REMOTE} has it, and it could not be restored (the connection"
    )
    assert not repair.commands([*repairs.values()])
    monkeypatch.undo()
    repository.repair()
    assert repository.verify().findings == ()


def test_the_remote_restores_an_empty_tree_and_cache(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.add_remote()
    repository.remove_cache()
    versioned = [file.path for file in expect_all(repository.root).files if file.path]
    for path in versioned:
        path.unlink(missing_ok=True)
    repository.run_commands_of(repository.repair())  # git has some of them
    assert {repair.source for repair in repository.repair()} <= {REMOTE, CACHE}
    assert repository.verify().findings == ()
    names = {path for path in before if path.startswith(("data/", "digests/"))}
    assert {path: sha256 for path, sha256 in repository.contents().items() if path in names} == {
        path: before[path] for path in names
    }
    assert open_index(repository.root).digest == content_digest(repository.root)


def test_an_object_that_the_remote_holds_damaged_too_stays_as_it_is(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    shutil.copytree(repository.remote, tmp_path / "store")
    repository.remote = tmp_path / "store"
    repository.add_remote()
    path = repository.file("data/encoder/model.safetensors")
    flip_bit(path)
    damaged = path.read_bytes()
    (finding,) = repository.verify().findings
    assert finding.linked_object
    rewrite(tmp_path / "store" / finding.linked_object.removeprefix(".dvc/cache/"), damaged)
    repairs = repository.repair()
    assert str(path.relative_to(repository.root)) in sources(repairs)
    assert set(sources(repairs).values()) == {None}
    assert path.read_bytes() == damaged
    repository.run_commands_of(repairs)
    assert repository.verify().findings == ()


def test_the_remote_is_not_offered_for_what_it_does_not_hold(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    repository.remote = tmp_path / "nothing"
    repository.add_remote()
    flip_bit(repository.file("data/encoder/model.safetensors"))
    assert list(sources(repository.plan()).values()) == [None]


def test_the_remote_is_not_offered_for_an_object_of_another_size(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    shutil.copytree(repository.remote, tmp_path / "store")
    repository.remote = tmp_path / "store"
    repository.add_remote()
    weights, pack = repository.file(WEIGHTS), repository.file(PACK)
    for path, fault in ((weights, empty), (pack, truncate)):
        flip_bit(path)
        linked = next(
            f.linked_object for f in repository.verify().findings if repository.root / f.path == path
        )
        assert linked
        fault(tmp_path / "store" / linked.removeprefix(".dvc/cache/"))
    assert set(sources(repository.plan()).values()) == {None}


def test_nothing_restores_what_another_branch_lists_as_taken_down(repository: VersionedRepository) -> None:
    taken_down, other = sorted(repository.root.glob(WEIGHTS))[:2]
    assert taken_down.parent == other.parent, "the fetch of one batch would bring both"
    repository.commit_takedown_elsewhere(taken_down, "refs/heads/later")
    objects = {file.path: file.object for file in expect_all(repository.root).files}
    object_ = objects[taken_down]
    assert object_
    empty(taken_down)
    object_.unlink()
    flip_bit(other)
    repository.add_remote()
    assert set(sources(repository.repair()).values()) == {REMOTE}
    assert taken_down.read_bytes() == b"" and not object_.exists()
    assert repository.verify().findings == ()
