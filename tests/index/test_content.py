"""Copies of an index: made once, verified row by row, and never replaced."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lancedb
import numpy as np
import pytest

from autolora.errors import MissingArtifact
from autolora.index import content, served
from autolora.index.content import Content, make_copy, write_content
from autolora.index.served import copy_path, open_index
from autolora.index.store import content_digest
from autolora.storage.incremental import read_digest
from tests.index.versions import tags_folder
from tests.support.synthetic_repo import file_states


def test_copy_is_made_once_and_read_only(root: Path) -> None:
    open_index(root)
    before = file_states(root / "cache")
    open_index(root)
    assert file_states(root / "cache") == before
    files = [path for path in (root / "cache" / "index").rglob("*") if path.is_file()]
    assert files and all(path.stat().st_mode & 0o222 == 0 for path in files)


def test_readers_that_open_an_index_at_once_share_one_copy(root: Path) -> None:
    with ThreadPoolExecutor(max_workers=8) as readers:
        opened = list(readers.map(lambda _: open_index(root), range(8)))
    assert {(index.digest, len(index.rows)) for index in opened} == {(content_digest(root), 12)}
    assert [path.name for path in (root / "cache/index").iterdir()] == [content_digest(root)]


def test_a_folder_without_the_columns_of_a_copy_is_an_error_and_is_not_replaced(root: Path) -> None:
    digest = content_digest(root)
    open_index(root)
    (copy_path(root, digest) / "columns.arrow").unlink()
    before = file_states(root / "cache")
    with pytest.raises(
        MissingArtifact,
        match=r"has no columns\.arrow; run `autolora verify`, which names the command that mends it, or delete it",
    ):
        open_index(root)
    assert file_states(root / "cache") == before
    shutil.rmtree(copy_path(root, digest))
    assert len(open_index(root).rows) == 12


def test_a_copy_that_another_process_made_first_is_not_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may have opened it already, or be opening it."""
    digest = content_digest(root)
    path = copy_path(root, digest)

    def write_while_another_finishes(folder: Path, written: Content) -> None:
        monkeypatch.undo()
        make_copy(path, digest, root / "data" / "index")
        write_content(folder, written)

    monkeypatch.setattr(content, "write_content", write_while_another_finishes)
    make_copy(path, digest, root / "data" / "index")
    assert [folder.name for folder in path.parent.iterdir()] == [digest]
    assert len(open_index(root).rows) == 12


@pytest.mark.parametrize(
    "name", ["weights_vectors.npy", "columns.arrow", "meta.json", "text_map.safetensors"]
)
def test_a_damaged_copy_is_an_error(root: Path, name: str) -> None:
    open_index(root)
    path = copy_path(root, content_digest(root)) / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MissingArtifact, match="autolora verify"):
        open_index(root)


def test_opening_a_copy_imports_neither_lancedb_nor_torch(root: Path) -> None:
    open_index(root)
    code = (
        "import sys; from pathlib import Path; from autolora.index.served import open_index; "
        f"print(len(open_index(Path({str(root)!r})).rows), *{{'lancedb', 'lance', 'torch'}} & {{*sys.modules}})"
    )
    completed = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert completed.stdout.split() == ["12"]


def test_an_open_index_stays_readable_while_its_copy_is_replaced(root: Path) -> None:
    index = open_index(root)
    rows, vectors = list(index.rows), index.weights_vectors.copy()
    index = open_index(root)
    shutil.rmtree(root / "cache" / "index")
    open_index(root)
    assert list(index.rows) == rows == [index.rows[position] for position in range(12)]
    assert np.array_equal(index.weights_vectors, vectors)


@pytest.mark.slow
def test_index_that_does_not_match_its_digest_is_not_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MAX_ATTEMPTS", 2)
    digest = root / "digests" / "index.json"
    digest.write_text(digest.read_text().replace(content_digest(root), "0" * 64))
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        open_index(root)
    assert not list((root / "cache" / "index").glob("*"))


def test_row_that_does_not_match_its_hash_is_not_served(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_ATTEMPTS", 1)
    table = lancedb.connect(root / "data" / "index").open_table("adapters")
    table.update(values={"license": "'mit'"})
    shutil.rmtree(tags_folder(root))  # they name the version before
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        open_index(root)
    assert not list((root / "cache" / "index").glob("*"))


def test_vectors_of_another_encoder_than_meta_json_are_not_served(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MAX_ATTEMPTS", 1)
    meta = root / "data" / "index" / "meta.json"
    meta.write_text(meta.read_text().replace(read_digest(root, "encoder")["weights"], "0" * 64))
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        open_index(root)
    assert not list((root / "cache" / "index").glob("*"))
