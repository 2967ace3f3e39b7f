"""What a repair restores, from each source, in a real repository with a hub, a remote, and stages that run."""

import io
import json
import random
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import AutoLoraError
from autolora.index.served import copy_path, open_index
from autolora.index.store import SCHEMA, content_digest
from autolora.integrity import hub_source
from autolora.integrity.expected import expect_all
from autolora.integrity.index_copies import Copies
from autolora.integrity.repair import Repair
from autolora.integrity.verification import COPIES, MISSING, Finding
from autolora.pool import sketch_packs
from autolora.storage.lock import exclusive_lock
from playground.hubs.state import Hub
from tests.integrity.faults import FAULTS, empty, flip_bit, rewrite, truncate
from tests.integrity.versioned_repository import VersionedRepository, commit, copy

WEIGHTS, IMAGES = "data/pool/batches/*/weights/*", "data/pool/batches/*/renderings/*"
RECOMPUTED = "its batch's weights, by computing it again"


def sources(repairs: list[Repair]) -> dict[str, str | None]:
    """Return path -> source."""
    return {repair.finding.path: repair.source for repair in repairs}


def unlinked(path: Path) -> Path:
    """Make a file of the working tree another file on disk than its object in the cache."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def test_the_cache_restores_files_of_the_working_tree(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [
        repository.file(pattern) for pattern in (WEIGHTS, IMAGES, "data/pool/adapters.jsonl", "data/index/*")
    ]
    for path, fault in zip(paths, FAULTS, strict=True):
        fault(unlinked(path))
    names = {str(path.relative_to(repository.root)) for path in paths}
    planned = repository.plan()
    assert sources(planned) == dict.fromkeys(names, "DVC cache")
    assert {finding.path for finding in repository.verify().findings} == names, "a dry run changes nothing"
    assert sources(repository.repair()) == sources(planned)
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths), "linked again"


def test_the_working_tree_restores_objects_and_lists(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.remove_cache()
    names = {path for path in before if path.startswith(".dvc/cache/files")}
    repairs = repository.repair()
    assert repository.verify().findings == ()
    assert {repair.source for repair in repairs} == {"working tree"}
    restored = repository.contents()
    former = {path for path in names if path not in restored}
    assert restored == {path: sha256 for path, sha256 in before.items() if path not in former}
    assert all(path.stat().st_nlink == 2 for path in repository.root.glob(WEIGHTS))


def test_the_remote_restores_what_is_damaged_in_tree_and_cache(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.add_remote()
    paths = [
        repository.file(p) for p in (WEIGHTS, IMAGES, "data/pool/sketches/*.safetensors", "data/encoder/*")
    ]
    for path in paths:
        flip_bit(path)
    planned = repository.plan()
    assert sources(planned) == {str(path.relative_to(repository.root)): "DVC remote store" for path in paths}
    assert sources(repository.repair()) == sources(planned)
    assert repository.contents() == before
    assert not list((repository.root / "cache/repair").rglob("*.*"))


def test_the_remote_restores_an_empty_tree_and_cache(repository: VersionedRepository) -> None:
    before = repository.contents()
    repository.add_remote()
    repository.remove_cache()
    versioned = [file.path for file in expect_all(repository.root).files if file.path]
    for path in versioned:
        path.unlink(missing_ok=True)
    repairs = repository.repair()
    assert not [repair for repair in repairs if repair.source is None]
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
    (repair,) = repository.repair()
    assert repair.source is None and "holds a damaged object" in repair.remark and "--train" in repair.remark
    assert path.read_bytes() == (repository.root / finding.linked_object).read_bytes() == damaged


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
    weights, pack = repository.file(WEIGHTS), repository.file("data/pool/sketches/*.safetensors")
    for path, fault in ((weights, empty), (pack, truncate)):
        flip_bit(path)
        linked = next(
            f.linked_object for f in repository.verify().findings if repository.root / f.path == path
        )
        assert linked
        fault(tmp_path / "store" / linked.removeprefix(".dvc/cache/"))
    assert not [source for source in sources(repository.plan()).values() if source == "DVC remote store"]


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
    assert set(sources(repository.repair()).values()) == {"DVC remote store"}
    assert taken_down.read_bytes() == b"" and not object_.exists()
    assert repository.verify().findings == ()


def test_git_restores_locks_digests_and_records(repository: VersionedRepository) -> None:
    before = repository.contents()
    names = ["data/catalog.jsonl", "digests/index.json", "data/pool/batches.jsonl", "dvc.lock"]
    paths = [*(repository.root / name for name in names), *repository.root.glob("data/pool/*/*.dvc")]
    for path, fault in zip(paths, (*FAULTS, *FAULTS), strict=False):
        fault(path)
    repairs = repository.repair()
    assert {repair.source for repair in repairs} == {"git"}
    assert repository.contents() == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_hub_restores_weights_and_images(repository: VersionedRepository, hub: Hub) -> None:
    before = repository.contents()
    paths = [repository.file(WEIGHTS), repository.file(IMAGES)]
    for path in paths:
        flip_bit(path)
    planned = sources(repository.plan())
    assert set(planned.values()) == {"hub huggingface"}
    assert sources(repository.repair()).items() >= planned.items()
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths)


def test_a_file_that_the_hub_changed_is_not_accepted(
    repository: VersionedRepository, hub_and_template: tuple[Hub, VersionedRepository]
) -> None:
    path, other = sorted(repository.root.glob(WEIGHTS))[:2]
    catalog = repository.root / "data/catalog.jsonl"
    rows = [json.loads(line) for line in catalog.read_text().splitlines()]
    urls = {row["sha256"]: row["url"] for row in rows}
    text = catalog.read_text().replace(urls[path.stem], urls[other.stem])
    catalog.write_text(text)
    repository.run("dvc", "commit", "-f", "-q", "pool")
    flip_bit(path)
    damaged = path.read_bytes()
    (repair,) = repository.repair()
    assert repair.source is None
    assert f"has sha256 {other.stem}, but {path.stem} is needed" in repair.remark
    assert path.read_bytes() == damaged


def test_an_image_that_is_encoded_otherwise_today_is_accepted_and_reported(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = hub_source.reencode_image

    def reencode(path: Path, bounds: object) -> tuple[bytes, int, int]:
        content, width, height = encode(path, bounds)  # type: ignore[arg-type]
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).save(buffer, "PNG", compress_level=0)
        return buffer.getvalue(), width, height

    monkeypatch.setattr(hub_source, "reencode_image", reencode)
    path = repository.file(IMAGES)
    batch = path.parents[1].relative_to(repository.root)
    flip_bit(path)
    restored = [repair for repair in repository.repair() if repair.source == "hub huggingface"]
    assert [repair.remark for repair in restored] == [
        f"its bytes differ from the former ones: {batch}.dvc names the new ones; commit it"
    ]
    assert repository.verify().findings == ()
    assert repository.run("git", "status", "--porcelain").split() == ["M", f"{batch}.dvc"]


def test_an_active_hub_does_not_restore_what_was_taken_down(repository: VersionedRepository) -> None:
    path = repository.file(WEIGHTS)
    repository.list_takedown(path)
    empty(path)
    assert repository.repair() == []
    assert path.read_bytes() == b""


def test_a_sketch_pack_is_computed_again(repository: VersionedRepository) -> None:
    before = repository.contents()
    path = repository.file("data/pool/sketches/*.safetensors")
    flip_bit(path)
    planned = sources(repository.plan())
    assert list(planned.values()) == [RECOMPUTED]
    repairs = sources(repository.repair())
    assert repairs.items() >= planned.items()
    assert repository.contents() == before, "the same processor gives the same bytes"


def test_a_sketch_pack_with_other_bytes_is_given_to_dvc(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack = sketch_packs.write_pack

    def write(path: Path, files: dict[str, Path]) -> None:
        write_pack(path, files)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    monkeypatch.setattr(sketch_packs, "write_pack", write)
    path = repository.file("data/pool/sketches/*.safetensors")
    flip_bit(path)
    repairs = repository.repair()
    assert {RECOMPUTED} == {repair.source for repair in repairs if repair.finding.kind == "sketches"}
    assert "commit it" in repairs[-1].remark
    assert repository.verify().findings == ()


def test_a_sketch_pack_of_damaged_weights_is_not_computed(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_source.Hubs, "offer", lambda self, finding: None)
    flip_bit(repository.file(WEIGHTS))
    flip_bit(repository.file("data/pool/sketches/*.safetensors"))
    assert set(sources(repository.repair()).values()) == {None}


def test_a_sketch_pack_of_weights_that_were_taken_down_names_the_reason(
    repository: VersionedRepository,
) -> None:
    pack = repository.file("data/pool/sketches/*.safetensors")
    batch = sketch_packs.NAME.fullmatch(pack.name)
    assert batch
    weights = repository.file(f"data/pool/batches/{batch['batch']}/weights/*")
    repository.list_takedown(weights)
    empty(weights)
    flip_bit(pack)
    (repair,) = repository.plan()
    name, linked = str(pack.relative_to(repository.root)), repair.finding.linked_object
    assert (repair.source, repair.remark) == (
        None,
        "1 of its weights was taken down; delete it and its object in DVC's cache first: "
        f"`rm -f {name} {linked} {name}.dvc`, then run `dvc repro --force --single-item pool`",
    )


def test_a_stage_is_run_again_for_its_output(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [repository.file("data/captions/*"), repository.file("data/dataset/*/data/*")]
    for path in paths:
        flip_bit(path)
    planned = sources(repository.plan())
    assert list(planned.values()) == [
        "a new run of the stage 'captions'",
        "a new run of the stage 'dataset'",
    ]
    assert sources(repository.repair()).items() >= planned.items()
    assert {path: sha for path, sha in repository.contents().items() if path in before} == before


def test_a_stage_that_fails_changes_nothing(repository: VersionedRepository) -> None:
    path = repository.file("data/captions/*")
    flip_bit(path)
    damaged = path.read_bytes()
    shutil.rmtree(repository.root / "kept")
    (repair,) = repository.repair()
    assert repair.source is None and "`dvc repro` failed" in repair.remark
    assert path.read_bytes() == damaged


def test_a_training_starts_only_if_it_is_allowed(repository: VersionedRepository) -> None:
    before = repository.contents()
    flip_bit(repository.file("data/encoder/model.safetensors"))
    (repair,) = repository.repair()
    assert (repair.source, repair.remark) == (
        None,
        "the training of the stage 'encoder' restores it: add --train",
    )
    assert {repair.source for repair in repository.repair(train=True)} <= {
        "a new run of the stage 'encoder'",
        "working tree",
    }
    assert repository.contents() == before


def test_copies_are_made_again_from_the_working_index_and_from_a_revision(
    repository: VersionedRepository,
) -> None:
    working = content_digest(repository.root)
    copies = sorted((repository.root / "cache/index").iterdir())
    for folder in copies:
        flip_bit(folder / "vectors.npy")
    planned = sources(repository.plan())
    assert {Path(path).parts[2]: str(source).split()[0] for path, source in planned.items()} == {
        folder.name: "working" if folder.name == working else "index" for folder in copies
    }
    assert sources(repository.repair()) == planned
    assert repository.verify().findings == ()
    assert sorted((repository.root / "cache/index").iterdir()) == copies
    assert open_index(repository.root).digest == working


def test_a_revision_of_another_layout_is_no_source_of_a_copy(repository: VersionedRepository) -> None:
    digest = repository.root / "digests/index.json"
    stated = json.loads(digest.read_text())
    for content, schema in (("5" * 64, SCHEMA), ("6" * 64, SCHEMA - 1)):
        digest.write_text(json.dumps(stated | {"content": content, "schema": schema}))
        commit(repository.root)
    copies = Copies(repository.root)

    def offer(content: str) -> str | None:
        path = str(copy_path(repository.root, content).relative_to(repository.root) / "vectors.npy")
        return copies.offer(Finding(path=path, kind=COPIES, problem=MISSING, expected=""))

    assert str(offer("5" * 64)).startswith("index of revision")
    assert offer("6" * 64) is None


def test_a_missing_list_of_hashes_is_written_again(repository: VersionedRepository) -> None:
    shutil.rmtree(repository.root / ".git")
    other = next(
        path
        for path in (repository.root / "cache/index").iterdir()
        if path != copy_path(repository.root, content_digest(repository.root))
    )
    (other / "hashes.json").unlink()
    assert list(sources(repository.repair()).values()) == ["the copy's own rows"]
    assert repository.verify().findings == ()
    flip_bit(other / "vectors.npy")
    (repair,) = repository.repair()
    assert (repair.source, repair.remark) == (
        None,
        f"this copy is not served: you may delete cache/index/{other.name}",
    )


def test_what_no_source_has_is_named_and_stays(repository: VersionedRepository) -> None:
    table, extra = repository.root / "data/pool/adapters.jsonl", repository.root / "data/index/extra"
    served = repository.root / "cache/served"
    flip_bit(table)
    extra.write_text("x")
    served.write_text("x")
    object_ = next(f.linked_object for f in repository.verify().findings if f.linked_object)
    before = repository.contents()
    remarks = {repair.finding.path: repair.remark for repair in repository.repair() if repair.source is None}
    assert remarks == {
        "data/pool/adapters.jsonl": "delete it and its object in DVC's cache first: `rm -f data/pool/adapters.jsonl "
        f"{object_}`, then run `dvc repro --force --single-item pool`, which may ask the hubs",
        "data/index/extra": "no recorded version contains it",
        "cache/served": "run `autolora release`, with --rev if an older index was released",
    }
    assert repository.contents() == before


def test_tables_of_an_interrupted_stage_stay(repository: VersionedRepository) -> None:
    table = unlinked(repository.root / "data/pool/adapters.jsonl")
    table.write_text(table.read_text() + "{}\n")
    (repository.root / "data/pool/open/weights").mkdir(parents=True)
    (repair,) = repository.repair()
    assert (repair.source, repair.remark) == (None, "the stage 'pool' was interrupted: run `dvc repro` first")


def test_a_repair_does_not_run_beside_a_refresh(repository: VersionedRepository) -> None:
    with exclusive_lock(repository.root), pytest.raises(AutoLoraError, match="another process is changing"):
        repository.repair()


def test_what_a_killed_repair_had_moved_away_is_moved_back(repository: VersionedRepository) -> None:
    aside = repository.root / "cache/repair"
    object_ = repository.file(".dvc/cache/files/md5/*/*")
    (aside / "objects").mkdir(parents=True)
    shutil.copy(object_, aside / "objects" / f"{object_.parent.name}{object_.name}")
    object_.unlink()
    captions = repository.file("data/captions/*")
    (aside / "outputs/data").mkdir(parents=True)
    shutil.move(captions.parent, aside / "outputs/data/captions")
    leftover = repository.file(WEIGHTS).with_name(".repair-0")
    leftover.write_text("x")
    assert repository.repair() == []
    assert not leftover.exists()


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
    assert "1 of 1 findings have a source: run `autolora repair --apply`" in dry.output
    assert f"damaged  {name}: from DVC cache\n1 of 1 findings repaired" in done.stdout
    (repository.root / "data/index/extra").write_text("x")
    assert run(app, ["repair"]).exit_code == 1


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
    repairs = repository.repair()
    assert not [repair for repair in repairs if repair.source is None]
    assert repository.verify().findings == ()
    after = repository.contents()
    assert without_copies(after) == without_copies(before)
    assert {finding.path for finding in findings} <= {repair.finding.path for repair in repairs}


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
