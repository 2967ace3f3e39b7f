"""A published index: written, downloaded from a hub on loopback, searched and fused; damaged and foreign files."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import autolora
from autolora.catalog import store as catalog
from autolora.errors import AutoLoraError, HubError, MismatchError, MissingArtifact
from autolora.extras import LIBRARIES
from autolora.generation.collection import Collection
from autolora.index.content import LANGUAGE_FILES
from autolora.index.copies import map_columns
from autolora.params import load
from autolora.publication import weights
from autolora.publication.folder import write_publication
from autolora.publication.manifest import MANIFEST, SOURCES, read_manifest
from autolora.records import Hit
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.hashes import hash_file
from tests.publication.conftest import Site
from tests.support import small_root
from tests.support.published_encoder import TRANSFORMER
from tests.support.tiny_flux import build_pipeline
from tests.support.tiny_sentences import tiny_sentence_encoder

PROMPT = "neon"
INDEX = {"digest": "0" * 64, "transformer": TRANSFORMER, "settings": None}


def num_hooks(collection: Collection, hits: list[Hit]) -> int:
    """Return how many linears have an adapter of the hits."""
    pipe = build_pipeline()
    with collection.fuse(pipe, hits):
        return sum(len(module._forward_hooks) for module in pipe.transformer.modules())


def test_hits_are_those_of_the_project(site: Site, cache: Path) -> None:
    project, published = autolora.open(site.root), autolora.open(site.published)
    assert published.search(PROMPT, k=12, where="license = 'mit'") == project.search(PROMPT, k=12)
    for collection in (project, published):
        with pytest.raises(MismatchError, match="the encoder has no language"):
            collection.select(PROMPT)
    assert len(published) == 12
    (reasons,) = published.reasons(PROMPT, published.search(PROMPT, k=1))
    assert reasons.weights_score and len(reasons.unavailable) == 1
    assert all("a published index" in note and "dvc" not in note for note in reasons.unavailable)


@pytest.mark.slow
def test_an_index_with_a_language_answers_by_parts_without_its_project(
    site: Site, cache: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(site.root, tmp_path / "root", symlinks=True)
    params = load(root / "params.yaml")
    small_root.teach_sentences(root, params.models, tiny_sentence_encoder(tmp_path / "sentences"))
    write_publication(root, params, tmp_path / "published")
    prompt, project = "a Neon cat, two monks", autolora.open(root)
    expected = [project.search(prompt, k=12), project.select(prompt), project.select(prompt, unsure=True)]
    assert {"Neon", "cat"} <= {hit.part for hit in expected[1]} and expected != [[], [], []]
    shutil.rmtree(root)
    shutil.rmtree(tmp_path / "sentences")
    published = autolora.open(tmp_path / "published")
    assert [
        published.search(prompt, k=12),
        published.select(prompt),
        published.select(prompt, unsure=True),
    ] == expected
    names = {path.name for path in (tmp_path / "published/cache/index").glob("*/*")}
    assert {*LANGUAGE_FILES, "captions_vectors.npy", "texts_vectors.npy"} <= names


def test_a_search_in_a_published_index_needs_no_transformers(
    site: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(site.root, tmp_path / "root", symlinks=True)
    write_publication(root, load(root / "params.yaml"), tmp_path / "published")
    monkeypatch.setitem(sys.modules, "transformers", None)
    expected = autolora.open(site.published).search(PROMPT, k=3)
    assert autolora.open(tmp_path / "published").search(PROMPT, k=3) == expected


def test_a_search_in_a_published_index_imports_no_library_of_an_extra(site: Site, cache: Path) -> None:
    code = (
        f"import sys, autolora; hits = autolora.open({str(site.published)!r}).search({PROMPT!r}, k=3); "
        f"print(len(hits), *{set(LIBRARIES)!r} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["3"], done.stderr


def test_only_a_project_describes_images(site: Site, cache: Path) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(
        MissingArtifact, match=r"is a published index, which names no model .* or describe the"
    ):
        autolora.open(site.published).describe(image)


def test_weights_come_from_their_hub_once(site: Site, cache: Path) -> None:
    collection = autolora.open(str(site.published))
    hits = collection.search(PROMPT, k=2)
    site.hub.counts.clear()
    for _ in range(2):
        assert num_hooks(collection, hits) == len(small_root.SLOTS)
    assert sum(site.hub.counts.kinds("huggingface").values()) == 2
    assert sorted(path.stem for path in (cache / "weights").iterdir()) == sorted(hit.sha256 for hit in hits)


def test_downloaded_weights_that_changed_afterwards_are_refused(site: Site, cache: Path) -> None:
    collection = autolora.open(site.published)
    (hit,) = hits = collection.search(PROMPT, k=1)
    num_hooks(collection, hits)
    path = cache / "weights" / f"{hit.sha256}.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(MissingArtifact, match=f"expected {hit.sha256}.*delete it, and it is downloaded"):
        num_hooks(collection, hits)


def test_paths_of_the_publisher_stay_private(site: Site) -> None:
    texts = [path.read_text(errors="replace") for path in site.published.glob("*") if path.is_file()]
    assert len(texts) == 3
    assert not [text for text in texts if "/home/me" in text or str(site.root) in text]
    manifest = json.loads((site.published / MANIFEST).read_text())
    assert not [name for name in manifest["files"] if name.startswith("/")]


def test_card_names_licenses_and_use(site: Site) -> None:
    card = (site.published / "README.md").read_text()
    assert "| licenses | mit 12 |" in card and "| hubs | huggingface 12 |" in card
    assert "An index of 12 FLUX LoRAs" in card and 'autolora.open("OWNER/NAME")' in card


def test_adapters_that_no_hub_offers_are_counted(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "| adapters whose weights no hub offers | 0 |" in (site.published / "README.md").read_text()
    root = shutil.copytree(site.root, tmp_path / "root", symlinks=True)
    catalog.write(root, catalog.read_all(root)[1:])
    write_publication(root, load(root / "params.yaml"), tmp_path / "published")
    assert "no hub offers the weights of 1 of 12 adapters: others find them" in caplog.text
    card = (tmp_path / "published/README.md").read_text()
    assert "| adapters whose weights no hub offers | 1 |" in card


def test_without_gates_the_method_is_direct(site: Site, tmp_path: Path, cache: Path) -> None:
    root = shutil.copytree(site.root, tmp_path / "root", symlinks=True)
    shutil.rmtree(root / "data/fusion")
    params = load(root / "params.yaml")
    params = replace(params, generation=replace(params.generation, method="gated"))
    write_publication(root, params, tmp_path / "new/published")
    collection = autolora.open(tmp_path / "new/published")
    assert collection.settings.generation.method == "direct"
    with pytest.raises(MissingArtifact, match="`direct`"):
        collection.attach(build_pipeline(), collection.search(PROMPT, k=1), method="gated")


@pytest.mark.parametrize("name", ["pipeline/text_encoder/model.safetensors", SOURCES])
def test_damaged_and_missing_files_are_named(copy: Path, cache: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(MissingArtifact, match=rf"{name} is damaged"):
        autolora.open(copy)
    (copy / name).unlink()
    with pytest.raises(MissingArtifact, match=rf"{name} is missing"):
        autolora.open(copy)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"schema": 99}, MismatchError, "another version"),
        (
            {"index": {"digest": "0" * 64, "transformer": TRANSFORMER, "settings": {}}},
            MismatchError,
            "missing key 'ret",
        ),
        ({"index": INDEX | {"transformer": {}}}, MismatchError, "'num_layers'"),
        ({"encoder": {"adapters": 1}}, MismatchError, "missing 3 required"),
        ({"files": {"../secret": "0" * 64}}, MissingArtifact, "outside its folder"),
        ({"files": {"/etc/passwd": "0" * 64}}, MissingArtifact, "outside its folder"),
        ({"files": None}, MissingArtifact, "not the manifest"),
        ({"index": {"digest": "../../elsewhere"}}, MissingArtifact, "expected 64 hex digits"),
    ],
    ids=["schema", "settings", "base", "encoder", "parent", "absolute", "files", "index"],
)
def test_invalid_manifest_is_an_error(
    copy: Path, cache: Path, change: Row, error: type[AutoLoraError], message: str
) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | change))
    with pytest.raises(error, match=message):
        autolora.open(copy)


def rewrite_sources(copy: Path, change: Any) -> Collection:
    """Change the sources of all adapters, and their hash; return the collection."""
    write_rows(copy / SOURCES, [row | change for row in read_rows(copy / SOURCES)])
    return autolora.open(reseal(copy, SOURCES))


def test_weights_that_have_changed_on_their_hub_are_refused(site: Site, copy: Path, cache: Path) -> None:
    other = next(read_rows(site.published / SOURCES))
    collection = rewrite_sources(copy, {"url": other["url"]})
    hits = [hit for hit in collection.search(PROMPT, k=12) if hit.sha256 != other["sha256"]][:1]
    with pytest.raises(HubError, match=f"now has sha256 {other['sha256'][:12]}"):
        num_hooks(collection, hits)
    assert list((cache / "weights").iterdir()) == []


def test_weights_are_bounded_whatever_size_the_index_states(
    copy: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 1000)
    collection = rewrite_sources(copy, {"size": 10**15})
    with pytest.raises(HubError, match="1000 bytes"):
        num_hooks(collection, collection.search(PROMPT, k=1))


def test_weights_that_no_hub_offers_are_an_error(site: Site, copy: Path, cache: Path) -> None:
    collection = rewrite_sources(
        copy, {"url": f"{site.endpoint}/nobody/nothing/resolve/main/lora.safetensors"}
    )
    hits = collection.search(PROMPT, k=1)
    with pytest.raises(HubError, match="404"):
        num_hooks(collection, hits)
    with pytest.raises(MissingArtifact, match="no hub is known"):
        num_hooks(collection, [replace(hits[0], sha256="0" * 64)])


def test_no_file_of_this_machine_is_read_because_a_publisher_names_it(copy: Path, cache: Path) -> None:
    collection = rewrite_sources(copy, {"hub": "folder", "url": "folder:cat.safetensors"})
    with pytest.raises(MissingArtifact, match="no hub is known"):
        num_hooks(collection, collection.search(PROMPT, k=1))


def test_an_index_that_was_published_before_is_replaced(site: Site, copy: Path, cache: Path) -> None:
    (copy / "README.md").write_text("before")
    shutil.rmtree(copy / "pipeline/tokenizer")
    write_publication(site.root, load(site.root / "params.yaml"), copy, name="me/index")
    assert 'autolora.open("me/index")' in (copy / "README.md").read_text()
    assert len(autolora.open(copy)) == 12
    assert [path for path in copy.parent.iterdir() if path.name.startswith(".publishing-")] == []


def test_other_files_are_not_replaced(site: Site, copy: Path, tmp_path: Path) -> None:
    params = load(site.root / "params.yaml")
    (copy / ".git").mkdir()
    (copy / ".git/config").touch()
    with pytest.raises(MismatchError, match=r"do not belong to a publication \(.git/config\)"):
        write_publication(site.root, params, copy)
    (copy / ".git/config").unlink()
    (copy / MANIFEST).write_text("{}")
    with pytest.raises(MismatchError, match="do not belong to a publication"):
        write_publication(site.root, params, copy)
    assert (copy / MANIFEST).read_text() == "{}"
    (tmp_path / "file").touch()
    with pytest.raises(MismatchError, match="is not a folder"):
        write_publication(site.root, params, tmp_path / "file")


def test_nothing_is_left_of_an_index_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    params = load(site.root / "params.yaml")
    (tmp_path / "file").touch()
    with pytest.raises(MissingArtifact, match="cannot be written"):
        write_publication(site.root, params, tmp_path / "file/published")
    with pytest.raises(AutoLoraError):
        write_publication(tmp_path, params, tmp_path / "published")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_text_encoder_of_another_index_is_an_error(site: Site, tmp_path: Path) -> None:
    params = load(site.root / "params.yaml")
    other = shutil.copytree(params.models.pipeline, tmp_path / "other")
    config = other / "text_encoder/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": 1}))
    changed = replace(params, models=replace(params.models, pipeline=str(other)))
    with pytest.raises(MismatchError, match="built with text encoder"):
        write_publication(site.root, changed, tmp_path / "published")


def test_a_failed_replacement_keeps_the_index(site: Site, copy: Path, tmp_path: Path) -> None:
    before = sorted(copy.rglob("*"))
    with pytest.raises(AutoLoraError):
        write_publication(tmp_path, load(site.root / "params.yaml"), copy)
    assert sorted(copy.rglob("*")) == before


def test_folder_without_a_published_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=f"contains no {MANIFEST}, so it is not a publication"):
        read_manifest(tmp_path)


def reseal(copy: Path, name: str) -> Path:
    """Give a changed file of a published index the right hash, as its publisher can; return the folder."""
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][name] = hash_file(copy / name)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


def rewrite_columns(copy: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Replace the columns of a published index, and their hash; return its folder."""
    (path,) = copy.glob("cache/index/*/columns.arrow")
    columns = change(map_columns(path.parent))
    path.unlink()
    with pa.ipc.new_file(path, columns.schema) as writer:
        writer.write_table(columns)
    return reseal(copy, path.relative_to(copy).as_posix())


def with_column(columns: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return columns.set_column(columns.column_names.index(name), name, values)


@pytest.mark.parametrize("offset", [200, 1 << 30], ids=["near", "far"])
def test_offsets_beyond_a_column_are_refused_when_an_index_is_opened(
    copy: Path, cache: Path, offset: int
) -> None:
    """A search in such an index read memory beside the column, or ended with SIGSEGV."""
    (path,) = copy.glob("cache/index/*/columns.arrow")
    _, offsets, _ = map_columns(path.parent).column("license").chunk(0).buffers()
    changed = np.frombuffer(offsets, "<i4").copy()
    changed[1:-1] = offset
    content = path.read_bytes().replace(offsets.to_pybytes(), changed.tobytes())
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(MissingArtifact, match=r"is malformed.*do not use it"):
        autolora.open(reseal(copy, path.relative_to(copy).as_posix()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: with_column(c, "sha256", pa.array(["../../../made"] * len(c))), "not 64 hex digits"),
        (lambda c: with_column(c, "sha256", pa.nulls(len(c), pa.string())), "not 64 hex digits"),
        (lambda c: with_column(c, "license", pa.array([1] * len(c))), "'license': DataType.int64"),
        (lambda c: c.append_column("more", pa.array([1] * len(c))), "more"),
        (lambda c: c.drop_columns(["file"]), "no column file"),
        (lambda c: c.slice(0, 3), r"vectors \(12, 16\), expected \(3, 16\)"),
    ],
    ids=["path", "null", "type", "more", "less", "rows"],
)
def test_columns_of_another_form_are_refused_when_an_index_is_opened(
    copy: Path, cache: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    with pytest.raises(MissingArtifact, match=message):
        autolora.open(rewrite_columns(copy, change))
    assert not list(copy.parent.rglob("made"))


@pytest.mark.parametrize("hub", ["civitai", "huggingface"])
def test_a_publisher_cannot_choose_a_private_address_to_ask(
    site: Site, copy: Path, cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    manifest = json.loads((copy / MANIFEST).read_text())
    for endpoint, message in [
        (site.endpoint, "expected https"),
        (site.endpoint.replace("http:", "https:"), "not a public address"),
        ("https://169.254.169.254", "not a public address"),
    ]:
        manifest["index"]["settings"]["hubs"][hub]["endpoint"] = endpoint
        (copy / MANIFEST).write_text(json.dumps(manifest))
        url = f"{endpoint}/latest/meta-data/iam"
        collection = rewrite_sources(copy, {"hub": hub, "url": url})
        site.hub.counts.clear()
        with pytest.raises(HubError, match=message):
            num_hooks(collection, collection.search(PROMPT, k=1))
        assert site.hub.counts.kinds(hub) == {}
