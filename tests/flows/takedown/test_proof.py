"""The proof lists what grep, git and Lance find in all stores: planted names and bytes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.captions.store import captions_path, encoded_path
from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.dataset import store as dataset
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.records import Caption
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.tables import sync_table
from flows import proof, takedown
from flows.proof import GIT, TREE, Finding, Proof
from tests.flows.takedown.erasure import enter, take_down
from tests.support import byte_grep
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import INK, OTHER, OWN

pytestmark = pytest.mark.slow

ID, FILE = "ann/marker-ink-4711", "marker_ink_4711.safetensors"
TEXTS = ("a »marker heron« over an ink sea", "the marker heron")
REDUCED = f"cache/thumbnails/{OWN}.pixels.webp"
"""a reduced image of a former version of AutoLoRA"""
OUTPUTS = ("captions", "dataset")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two releases and two remotes, in which one adapter has names that nothing else has."""
    folder = tmp_path_factory.mktemp("planted")
    root = repo.make_repository(folder / "repo", "../store")
    repo.add_remote(root, "second", "../second")
    listings = [
        replace(item, id=ID, file=FILE) if item.id == "ann/ink" else item for item in catalog.read_all(root)
    ]
    catalog.write(root, listings)
    (root / "dvc.yaml").write_text(
        "stages:\n"
        "  crawl:\n    cmd: 'false'\n    outs:\n    - data/catalog: {cache: false, persist: true}\n"
        "  captions:\n    cmd: 'false'\n    outs:\n    - data/captions: {persist: true}\n"
        "  dataset:\n    cmd: 'false'\n    outs:\n    - data/dataset: {persist: true}\n"
    )
    ignored = ("/cache/", "/images/", "/reports/", ".dvc/config.local", *map("/data/{}".format, OUTPUTS))
    (root / ".gitignore").write_text("".join(f"{name}\n" for name in ignored))
    release(root, 1, [OWN, OTHER])
    write_rows(root / "metrics/evaluation.json", [{"worst": [f"huggingface:{ID}"]}])
    release(root, 2, [OWN, OTHER, hash_value("new")])
    files = {"images/a.png": f"made with {INK}", "reports/index.html": f"<b>{ID}</b>", REDUCED: "small"}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return folder


def release(root: Path, day: int, images: Sequence[str], message: str = "") -> None:
    """Write captions and dataset of these images, and tag the commit."""
    captions = [
        Caption(image=image, length="short", prompt="p", vlm="v", text=text)
        for image in images
        for text in (TEXTS if image == OWN else (f"a caption of {image[:9]}",))
    ]
    captions += [
        Caption(image=hash_value(n), length="short", prompt="p", vlm="v", text=f"heron {n}")
        for n in range(2000)
    ]
    rows = [caption.to_row() for caption in sorted(captions, key=lambda item: (item.image, item.text))]
    write_rows(captions_path(root), rows)
    table = {hash_value(row): row for row in rows}
    sync_table(dataset.folder(root), "captions", dataset.CAPTIONS, table)
    repo.run(root, "dvc", "commit", "-q", "--force")
    for remote in ("store", "second"):
        repo.run(root, "dvc", "push", "-q", "-r", remote)
    repo.commit(root, message or f"release {day}")
    repo.run(root, "git", "tag", f"release/2026-01-0{day}")


@pytest.fixture
def root(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767571200")
    repo.run(planted, "cp", "-a", str(planted), str(tmp_path / "copy"))
    return enter(tmp_path / "copy/repo", monkeypatch)


def findings(*names: str) -> list[Finding]:
    return Proof(proof.choose(takedowns.read(proof.ROOT).rows, names)).findings()


def places(found: Sequence[Finding]) -> dict[str, set[str]]:
    """Return place -> names."""
    listed: dict[str, set[str]] = {}
    for item in found:
        listed.setdefault(item.place, set()).add(item.name)
    return listed


def grepped(root: Path) -> dict[str, set[str]]:
    """Return place -> names by an independent search."""
    rows = [row.to_row() for row in takedowns.read(root).rows]
    texts, words = byte_grep.names_of(rows)
    wanted = byte_grep.pattern(texts, words | {FILE})
    cache, git = root / ".dvc/cache", root / ".git"
    loose = {f".git/{name}" for name in byte_grep.in_folder(git, wanted, [git / "objects"])}
    return {
        TREE: byte_grep.in_folder(root, wanted, [git, cache / "files"]),
        GIT: byte_grep.in_git(root, wanted) | loose,
        "DVC's cache": byte_grep.in_store(cache, wanted),
        "remote store": byte_grep.in_store(root.parent / "store", wanted),
        "remote second": byte_grep.in_store(root.parent / "second", wanted),
    }


def test_the_proof_lists_what_a_byte_search_finds(root: Path) -> None:
    take_down(f"huggingface:{ID}")
    assert places(findings()) == grepped(root)
    repo.commit(root, f"takedown of huggingface:{ID}")
    release(root, 3, [OTHER], f"without {ID}")
    found = findings()
    assert places(found) == grepped(root)
    content = {(item.place, item.path) for item in found if item.kind == "content"}
    assert ("DVC's cache", "data/captions/captions.jsonl") in content
    assert (TREE, "data/captions/captions.jsonl") not in content
    assert any(path.startswith("data/dataset/captions.lance/data/") for _, path in content)
    assert not any("pool" in path for _, path in content) and (TREE, REDUCED) in content
    needed = {(item.path, item.needed_by) for item in found if item.place == "remote second"}
    tags = ("release/2026-01-01", "release/2026-01-02")
    assert needed >= {("data/captions/captions.jsonl", tag) for tag in tags}
    assert ("data/captions/captions.jsonl", proof.TREE) not in needed
    with pytest.raises(AutoLoraError, match=r"content is left in \d+ files and objects"):
        takedown.prove([ID])


def test_what_is_not_erased_is_content(root: Path, tmp_path: Path) -> None:
    rows = takedown.find_scope(root, [f"huggingface:{ID}"], "asked", repo.DAY).rows
    takedowns.write(root, takedown.Erasure(takedowns.Takedowns(rows)).listed)
    found = {(item.place, item.path) for item in findings() if item.kind == "content"}
    file = f"data/pool/batches/{repo.BATCH}/weights/{INK}.safetensors"
    assert {(place, file) for place in (TREE, "DVC's cache", "remote store", "remote second")} <= found
    assert any(f"renderings/{OWN}" in path for _, path in found)


def test_encoded_captions_are_erased(root: Path) -> None:
    texts = (*TEXTS, f"a caption of {OTHER[:9]}")
    paths = [encoded_path(root, text, "e" * 64) for text in texts]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"states")
    take_down(f"huggingface:{ID}")
    assert [path.exists() for path in paths] == [False, False, True]


def test_damaged_captions_do_not_stop_an_erasure(root: Path) -> None:
    captions_path(root).unlink()
    captions_path(root).write_text("damaged\n")
    rows = takedown.find_scope(root, [f"huggingface:{ID}"], "asked", repo.DAY).rows
    with pytest.raises(AutoLoraError, match=r"not complete: .*captions\.jsonl"):
        takedown.Erasure(takedowns.Takedowns(rows)).apply()
    assert not next(root.rglob(f"{INK}.safetensors")).stat().st_size


def test_weights_under_another_name_are_found(root: Path) -> None:
    content = bytes(range(250)) * 4
    sha256 = hashlib.sha256(content).hexdigest()
    listings = catalog.read_all(root)
    catalog.write(root, [*listings, repo.listing("huggingface", "zoe/zebra", sha256)])
    take_down("huggingface:zoe/zebra")
    (root / "images/renamed.bin").write_bytes(content)
    content_left = {(item.place, item.name) for item in findings() if item.kind == "content"}
    assert content_left == {(TREE, "images/renamed.bin")}


def test_content_that_is_gone_ends_well_and_problems_do_not(
    copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied("plain")
    take_down("civitai:7")
    repo.commit(root, "takedown")
    takedown.prove([])
    output = capsys.readouterr().out
    assert "name in git's history, data/catalog (" in output and "content in" not in output
    assert "not searched for, because other adapters have it too: the file name lora.safetensors" in output
    with pytest.raises(MissingArtifact, match="has no 'bob/cat'"):
        takedown.prove(["bob/cat"])
    repo.add_remote(root, "gone", "../gone")
    with pytest.raises(AutoLoraError, match="nothing is proven: remote gone"):
        takedown.prove([])
