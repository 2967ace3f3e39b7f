"""The commands that a repair prints for what DVC does not have, and that they restore it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.index.served import open_index
from autolora.index.store import content_digest
from autolora.integrity.repair import commands
from autolora.pool.sketch_packs import read_adapters
from tests.integrity.faults import FAULTS, empty, flip_bit
from tests.integrity.repairs import IMAGES, PACK, WEIGHTS, sources, unlinked
from tests.integrity.versioned_repository import VersionedRepository

pytestmark = pytest.mark.slow

FILES = {
    WEIGHTS: "pool",
    IMAGES: "pool",
    PACK: "pool",
    "data/pool/adapters.jsonl": "pool",
    "data/captions/*": "captions",
    "data/dataset/*/data/*": "dataset",
    "data/encoder/model.safetensors": "encoder",
    "data/index/meta.json": "index",
    "data/catalog/*.jsonl": "git",
    "data/pool/batches.jsonl": "git",
    "digests/index.json": "git",
}
"""files that neither DVC's cache nor a remote has, and what restores them: a stage, or git"""


def remove_listing(root: Path, sha256: str) -> None:
    """Remove the listings of a file from the catalog."""
    catalog.write(root, [listing for listing in catalog.read_all(root) if listing.sha256 != sha256])


def mender_of(command: str) -> str:
    """Return the stage that a command runs again; git if it runs none."""
    stages = re.findall(r"dvc repro --force --single-item (\w+)", command)
    return stages[0] if stages else command.split()[0]


def damage_with_object(repository: VersionedRepository, path: Path, fault: Callable[[Path], None]) -> None:
    """Damage a file and its object in DVC's cache, which is a link to it: deleting a link leaves the other."""
    objects = [other for other in repository.root.glob(".dvc/cache/files/md5/*/*") if other.samefile(path)]
    for damaged in (path, *objects) if fault is Path.unlink else (path,):
        fault(damaged)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_printed_commands_restore_each_kind_of_file(
    repository: VersionedRepository, fault: Callable[[Path], None]
) -> None:
    before = repository.contents()
    paths = {pattern: repository.file(pattern) for pattern in FILES}
    for path in paths.values():
        damage_with_object(repository, path, fault)
    planned = repository.plan()
    assert set(sources(planned).values()) == {None}
    menders = {row.finding.path: mender_of(row.advice.command) for row in planned if row.advice}
    assert {
        pattern: menders[str(path.relative_to(repository.root))] for pattern, path in paths.items()
    } == FILES
    in_order = ["git", "pool", "captions", "dataset", "encoder", "index"]
    assert list(map(mender_of, commands(planned))) == in_order
    assert repository.repair() == planned
    repository.run_commands_of(planned)
    repository.run_commands_of(repository.plan())  # what the list in batches.jsonl had hidden
    assert repository.verify().findings == ()
    assert repository.contents() == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_training_is_named(repository: VersionedRepository) -> None:
    flip_bit(repository.file("data/encoder/model.safetensors"))
    (repair,) = repository.plan()
    assert repair.reason.endswith("the stage 'encoder' computes it again, which is a training")


def test_objects_and_lists_come_from_an_intact_working_tree(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.remove_cache()
    planned = repository.plan()
    assert {repair.reason for repair in planned} == {"the working tree has it, and DVC stores it again"}
    repository.run_commands_of(planned)
    repository.run_commands_of(repository.plan())  # the files that the lists name
    assert repository.verify().findings == ()
    restored = repository.contents()
    assert restored.items() <= before.items()
    assert {path for path in before if not path.startswith(".dvc/cache")} <= restored.keys()


def test_a_damaged_object_is_replaced_by_the_file(repository: VersionedRepository) -> None:
    for pattern in (WEIGHTS, "data/encoder/model.safetensors"):
        path = repository.file(pattern)
        unlinked(path)
        (object_,) = [
            other
            for other in repository.root.glob(".dvc/cache/files/md5/*/*")
            if other.stat().st_size == path.stat().st_size and other.read_bytes() == path.read_bytes()
        ]
        flip_bit(object_)
    planned = repository.plan()
    assert [command.split(" && ")[-1] for command in commands(planned)] == [
        f"dvc add {repository.file(WEIGHTS).parents[1].relative_to(repository.root)}",
        "dvc commit encoder",
    ]
    repository.run_commands_of(planned)
    assert repository.verify().findings == ()


def test_a_list_is_not_written_from_a_folder_with_another_content(repository: VersionedRepository) -> None:
    shutil.rmtree(repository.root / ".dvc/cache")
    meta = repository.root / "data/index/meta.json"
    flip_bit(meta)
    (repair,) = [row for row in repository.plan() if row.advice and "index" in row.advice.command]
    assert repair.advice and repair.advice.command.endswith("dvc repro --force --single-item index")


def test_records_of_dvc_come_from_git(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [repository.root / "dvc.lock", *repository.root.glob("data/pool/*/*.dvc")]
    for path, fault in zip(paths, (*FAULTS, *FAULTS), strict=False):
        fault(path)
    (command,) = commands(repository.plan())
    assert command.startswith("git checkout HEAD -- ")
    repository.run("bash", "-c", command)
    assert repository.verify().findings == () and repository.contents() == before


def test_a_copy_that_is_served_comes_from_the_working_index_or_a_revision(
    repository: VersionedRepository,
) -> None:
    working, copies = content_digest(repository.root), sorted((repository.root / "cache/index").iterdir())
    (former,) = [folder for folder in copies if folder.name != working]
    (repository.root / "cache/served").write_text(former.name)
    for folder in copies:
        flip_bit(folder / "vectors.npy")
    planned = repository.plan()
    assert sorted(commands(planned)) == [f"rm -rf cache/index/{folder.name}" for folder in copies]
    repository.run_commands_of(planned)
    assert repository.verify().findings == ()
    assert open_index(repository.root).digest == former.name
    assert not (repository.root / "cache/index" / working).exists()


def test_a_copy_that_is_not_served_may_be_removed(repository: VersionedRepository) -> None:
    working = content_digest(repository.root)
    (former,) = [path for path in (repository.root / "cache/index").iterdir() if path.name != working]
    (former / "hashes.json").unlink()
    (repair,) = repository.plan()
    assert repair.advice and repair.advice.command == f"rm -rf cache/index/{former.name}"
    assert repair.reason.startswith("this copy is not served")


def test_a_served_copy_that_no_commit_has_is_replaced_by_the_working_index(
    repository: VersionedRepository,
) -> None:
    shutil.copytree(repository.file("cache/index/*/meta.json").parent, repository.root / "cache/index/lost")
    lost = (repository.root / "cache/index/lost").rename(repository.root / "cache/index" / ("0" * 64))
    flip_bit(lost / "vectors.npy")
    (repository.root / "cache/served").write_text(lost.name)
    planned = repository.plan()
    assert commands(planned) == [f"rm -rf cache/index/{lost.name} && rm cache/served"]
    repository.run_commands_of(planned)
    assert repository.verify().findings == ()
    assert open_index(repository.root).digest == content_digest(repository.root)


def test_what_nothing_restores_is_named_and_stays(repository: VersionedRepository) -> None:
    extra, served = repository.root / "data/index/extra", repository.root / "cache/served"
    extra.write_text("x")
    served.write_text("x")
    before = repository.contents()
    repairs = repository.repair()
    assert {repair.finding.path: repair.reason for repair in repairs} == {
        "data/index/extra": "no recorded version contains it",
        "cache/served": "searches read the working index then, until a refresh releases one",
    }
    assert commands(repairs) == ["rm cache/served"]
    assert repository.contents() == before


def test_tables_of_an_interrupted_stage_stay(repository: VersionedRepository) -> None:
    table = unlinked(repository.root / "data/pool/adapters.jsonl")
    table.write_text(table.read_text() + "{}\n")
    (repository.root / "data/pool/open/weights").mkdir(parents=True)
    (repair,) = repository.repair()
    assert repair.source is None and repair.reason == "the stage 'pool' was interrupted"
    assert commands([repair]) == ["dvc repro"]


def test_weights_that_no_hub_lists_any_more_stay_missing(repository: VersionedRepository) -> None:
    path = repository.file(WEIGHTS)
    remove_listing(repository.root, path.stem)
    repository.run("dvc", "commit", "-f", "-q", "pool")
    empty(path)
    planned = repository.plan()
    assert "if a hub still lists it" in planned[0].reason
    repository.run_commands_of(planned)
    assert str(path.relative_to(repository.root)) in sources(repository.plan())


def test_a_sketch_pack_is_written_without_weights_that_were_taken_down(
    repository: VersionedRepository,
) -> None:
    pack, weights = repository.file(PACK), repository.file(WEIGHTS)
    assert weights.stem in read_adapters(pack) and len(read_adapters(pack)) > 1
    remove_listing(repository.root, weights.stem)
    repository.list_takedown(weights)
    empty(weights)
    repository.run("dvc", "commit", "-f", "-q", "pool")
    flip_bit(pack)
    repository.run_commands_of(repository.plan())
    assert repository.verify().findings == ()
    assert weights.stem not in read_adapters(pack) and weights.read_bytes() == b""
