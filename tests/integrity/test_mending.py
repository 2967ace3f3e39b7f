"""The commands that `autolora verify` prints, and that they mend what it has found."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.catalog import store as catalog
from autolora.cli import app
from autolora.index.served import open_index
from autolora.index.store import content_digest
from autolora.integrity.expected import expect_all
from autolora.pool.sketch_packs import read_adapters
from playground.hubs.state import Hub
from tests.integrity.faults import FAULTS, empty, flip_bit, rewrite, truncate
from tests.integrity.versioned_repository import VersionedRepository, copy

pytestmark = pytest.mark.slow

WEIGHTS, IMAGES = "data/pool/batches/*/weights/*", "data/pool/batches/*/renderings/*"
PACK = "data/pool/sketches/*.safetensors"
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
"""files that neither DVC's cache nor a remote has, and what mends them: a stage, or git"""


def unlinked(path: Path) -> Path:
    """Make a file of the working tree another file on disk than its object in the cache."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


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


def in_remote(repository: VersionedRepository, path: Path) -> Path:
    """Return the object of a damaged file in the remote."""
    name = str(path.relative_to(repository.root))
    linked = next(row.linked_object for row in repository.verify().findings if row.path == name)
    assert linked
    return repository.remote / linked.removeprefix(".dvc/cache/")


@pytest.fixture
def own_remote(repository: VersionedRepository, tmp_path: Path) -> VersionedRepository:
    """A repository with a remote that a test may damage."""
    shutil.copytree(repository.remote, tmp_path / "store")
    repository.remote = tmp_path / "store"
    repository.add_remote()
    return repository


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_git_and_stages_restore_what_dvc_has_lost(
    repository: VersionedRepository, fault: Callable[[Path], None]
) -> None:
    before = repository.contents()
    paths = {pattern: repository.file(pattern) for pattern in FILES}
    for path in paths.values():
        damage_with_object(repository, path, fault)
    mended = repository.mend()
    menders = {row.path: mender_of(command) for command, rows in mended.items() for row in rows}
    assert {
        pattern: menders[str(path.relative_to(repository.root))] for pattern, path in paths.items()
    } == FILES
    assert [*map(mender_of, mended)] == ["git", "pool", "captions", "dataset", "encoder", "index"]
    repository.run_commands()
    assert repository.verify().findings == ()
    assert repository.contents() == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_cache_restores_files_of_the_working_tree(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [
        repository.file(pattern) for pattern in (WEIGHTS, IMAGES, "data/pool/adapters.jsonl", "data/index/*")
    ]
    for path, fault in zip(paths, FAULTS, strict=True):
        fault(unlinked(path))
    names = {str(path.relative_to(repository.root)) for path in paths}
    ((command, rows),) = repository.mend().items()
    assert " && dvc checkout data/index data/pool/adapters.jsonl data/pool/batches/" in command
    assert {row.path for row in rows} == names
    repository.run_commands()
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths), "linked again"


def test_the_remote_restores_what_is_damaged_in_tree_and_cache(own_remote: VersionedRepository) -> None:
    before = own_remote.contents()
    paths = [own_remote.file(pattern) for pattern in (WEIGHTS, IMAGES, PACK, "data/encoder/*")]
    for path in paths:
        flip_bit(path)
    (command,) = own_remote.commands()
    assert " && dvc pull data/encoder data/pool/batches/" in command
    own_remote.run_commands()
    assert own_remote.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths), "linked again"


def test_the_remote_restores_an_empty_tree_and_cache(own_remote: VersionedRepository) -> None:
    before = own_remote.contents()
    own_remote.remove_cache()
    for path in [file.path for file in expect_all(own_remote.root).files if file.path]:
        path.unlink(missing_ok=True)
    assert "dvc pull" in own_remote.commands()
    own_remote.run_commands()
    assert own_remote.verify().findings == ()
    names = {path for path in before if path.startswith(("data/", "digests/"))}
    assert {path: sha256 for path, sha256 in own_remote.contents().items() if path in names} == {
        path: before[path] for path in names
    }
    assert open_index(own_remote.root).digest == content_digest(own_remote.root)


def test_single_files_are_restored_of_a_batch_that_has_lost_others(own_remote: VersionedRepository) -> None:
    """DVC would remove the batch, and the hub no longer has what it could restore."""
    before, (lost, held) = own_remote.contents(), sorted(own_remote.root.glob(WEIGHTS))[:2]
    for path in (lost, held):
        flip_bit(path)
    in_remote(own_remote, lost).unlink()
    pull, rerun = own_remote.commands()
    assert pull.endswith(f" && dvc pull {held.relative_to(own_remote.root)}") and held.name not in rerun
    own_remote.run_commands()
    assert own_remote.verify().findings == () and own_remote.contents() == before


@pytest.mark.parametrize("fault", [empty, truncate, Path.unlink], ids=lambda fault: fault.__name__)
def test_the_remote_is_not_offered_for_what_it_has_not(
    own_remote: VersionedRepository, fault: Callable[[Path], None]
) -> None:
    weights, pack = own_remote.file(WEIGHTS), own_remote.file(PACK)
    for path, of_remote in ((weights, empty), (pack, fault)):
        flip_bit(path)
        of_remote(in_remote(own_remote, path))
    (command,) = own_remote.commands()
    assert mender_of(command) == "pool"


def test_a_remote_that_is_away_is_asked_again(own_remote: VersionedRepository) -> None:
    shutil.rmtree(own_remote.remote)
    flip_bit(own_remote.file("data/encoder/model.safetensors"))
    (command,) = own_remote.commands()
    assert command.endswith(" && dvc pull data/encoder")


def test_what_another_branch_lists_as_taken_down_stays_away(own_remote: VersionedRepository) -> None:
    """As far as the remote has it erased: else the next verification finds it."""
    taken_down, other = sorted(own_remote.root.glob(WEIGHTS))[:2]
    own_remote.commit_takedown_elsewhere(taken_down, "refs/heads/later")
    objects = {file.path: file.object for file in expect_all(own_remote.root).files}
    object_ = objects[taken_down]
    assert object_ and taken_down.parent == other.parent, "the fetch of one batch would bring both"
    empty(taken_down)
    object_.unlink()
    rewrite(own_remote.remote / object_.relative_to(own_remote.root / ".dvc/cache"), b"")
    flip_bit(other)
    own_remote.run_commands()
    assert taken_down.read_bytes() == b"" and own_remote.verify().findings == ()


def test_objects_and_lists_come_from_an_intact_working_tree(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.remove_cache()
    (command,) = repository.commands()
    assert " && dvc commit " in command and command.startswith("dvc add data/pool/batches/")
    repository.run_commands()
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
    (command,) = repository.commands()
    batch = repository.file(WEIGHTS).parents[1].relative_to(repository.root)
    assert command.endswith(f" && dvc add {batch} && dvc commit encoder")
    repository.run_commands()
    assert repository.verify().findings == ()


def test_a_list_is_not_written_from_a_folder_with_another_content(repository: VersionedRepository) -> None:
    repository.remove_cache()
    flip_bit(repository.root / "data/index/meta.json")
    (command,) = [command for command in repository.commands() if "index" in command]
    assert command.endswith("dvc repro --force --single-item index")


def test_records_of_dvc_come_from_git(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [repository.root / "dvc.lock", *repository.root.glob("data/pool/*/*.dvc")]
    for path, fault in zip(paths, (*FAULTS, *FAULTS), strict=False):
        fault(path)
    (command,) = repository.commands()
    assert command.startswith("git checkout HEAD -- ")
    repository.run_commands()
    assert repository.verify().findings == () and repository.contents() == before


def test_copies_of_the_index_are_made_again(repository: VersionedRepository) -> None:
    working, copies = content_digest(repository.root), sorted((repository.root / "cache/index").iterdir())
    (former,) = [folder for folder in copies if folder.name != working]
    (repository.root / "cache/served").write_text(former.name)
    for folder in copies:
        flip_bit(folder / "weights_vectors.npy")
    assert repository.commands() == [f"rm -rf {' '.join(f'cache/index/{folder.name}' for folder in copies)}"]
    repository.run_commands()
    assert repository.verify().findings == ()
    assert open_index(repository.root).digest == former.name
    assert not (repository.root / "cache/index" / working).exists()


def test_a_served_copy_that_no_commit_has_is_replaced_by_the_working_index(
    repository: VersionedRepository,
) -> None:
    shutil.copytree(repository.file("cache/index/*/meta.json").parent, repository.root / "cache/index/lost")
    lost = (repository.root / "cache/index/lost").rename(repository.root / "cache/index" / ("0" * 64))
    flip_bit(lost / "weights_vectors.npy")
    (repository.root / "cache/served").write_text(lost.name)
    assert repository.commands() == [f"rm -rf cache/index/{lost.name}"]
    shutil.rmtree(lost)
    assert repository.commands() == ["rm -rf cache/served"]
    repository.run_commands()
    assert repository.verify().findings == ()
    assert open_index(repository.root).digest == content_digest(repository.root)


def test_what_no_command_mends_is_last(repository: VersionedRepository) -> None:
    (repository.root / "data/index/extra").write_text("x")
    (repository.root / "cache/served").write_text("x")
    mended = {command: [row.path for row in rows] for command, rows in repository.mend().items()}
    assert [*mended.items()] == [("rm -rf cache/served", ["cache/served"]), ("", ["data/index/extra"])]


def test_tables_of_an_interrupted_stage_stay(repository: VersionedRepository) -> None:
    table = unlinked(repository.root / "data/pool/adapters.jsonl")
    table.write_text(table.read_text() + "{}\n")
    (repository.root / "data/pool/open/weights").mkdir(parents=True)
    assert repository.commands() == ["dvc repro"]


def test_weights_that_no_hub_lists_any_more_stay_missing(repository: VersionedRepository) -> None:
    path = repository.file(WEIGHTS)
    remove_listing(repository.root, path.stem)
    repository.run("dvc", "commit", "-f", "-q", "pool")
    empty(path)
    repository.run_commands()
    assert str(path.relative_to(repository.root)) in {row.path for row in repository.verify().findings}


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
    repository.run_commands()
    assert repository.verify().findings == ()
    assert weights.stem not in read_adapters(pack) and weights.read_bytes() == b""


def test_the_command_prints_what_mends_each_finding(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.root)
    run = CliRunner().invoke
    assert run(app, ["verify"]).exit_code == 0
    path = unlinked(repository.file("data/captions/*"))
    flip_bit(path)
    name = str(path.relative_to(repository.root))
    text, report = run(app, ["verify"]), run(app, ["verify", "--json", "--sample", "1000"])
    assert (text.exit_code, report.exit_code) == (1, 1)
    command = f"rm -rf {name} && dvc checkout data/captions"
    assert f"damaged  {name}\n    {command}\n" in text.output and ": 1 findings" in text.output
    row = json.loads(report.stdout)
    (finding,) = row["findings"]
    assert row["commands"] == [command]
    assert (finding["path"], finding["kind"], finding["problem"], finding["expected"][:4]) == (
        name,
        "captions",
        "damaged",
        "md5:",
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
def test_random_damage_is_found_and_mended(
    shared: tuple[VersionedRepository, dict[str, str]], seed: int
) -> None:
    repository, before = shared
    draw = random.Random(seed)
    files = sorted({path.stat().st_ino: path for path in versioned_files(repository)}.values())
    damaged = draw.sample(files, draw.randint(1, 4))
    damaged = [path for path in damaged if describes_others(path)][:1] or damaged
    for path in damaged:
        draw.choice([*FAULTS])(path)
    found = {name for row in repository.verify().findings for name in (row.path, row.linked_object)}
    assert {str(path.relative_to(repository.root)) for path in damaged} <= found
    repository.run_commands()
    assert repository.verify().findings == ()
    assert without_copies(repository.contents()) == without_copies(before)


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
