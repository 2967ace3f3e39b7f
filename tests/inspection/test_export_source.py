"""What is exported from an index: the adapter with its origin, license and trigger words."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from autolora.errors import MissingArtifact
from autolora.index.copies import Rows
from autolora.inspection import export_source
from autolora.inspection.export_source import ExportSource, open_source
from autolora.lora.read import read_header
from autolora.pool.store import weights_path
from tests.inspection.files import BASE
from tests.lora.writing import draw_lora

LORA = draw_lora()
HEADER = {
    "modelspec.architecture": "flux-1-dev/lora",
    "modelspec.title": "Ink wash",
    "modelspec.license": "other",
}
ROWS = [
    {"sha256": "a" * 64, "hub": "civitai", "id": "123", "file": "ink.safetensors", "license": "mit",
     "trigger_words": ["inkwsh", "ink"], "layout": "kohya", "warnings": ["ignored-keys"]},
    {"sha256": "b" * 64, "hub": "folder", "id": "cat", "file": "cat.safetensors", "license": None,
     "trigger_words": [], "layout": "peft", "warnings": []},
]  # fmt: skip


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the index contain ROWS, and the pool the same weights for all."""
    monkeypatch.setattr(
        export_source, "open_index", lambda _: SimpleNamespace(rows=Rows(pa.Table.from_pylist(ROWS)))
    )
    monkeypatch.setattr(export_source, "load_lora", lambda root, sha256, slots, bounds: LORA)
    monkeypatch.setattr(export_source, "read_header", lambda path, bounds: SimpleNamespace(metadata=HEADER))


def opened(name: str) -> ExportSource:
    return open_source(name, Path("/project"), BASE)


@pytest.mark.parametrize("name", ["123", "civitai:123", "civitai:123/ink.safetensors", "aaaaaa"])
def test_adapter_has_the_names_of_generate(name: str) -> None:
    source = opened(name)
    assert source.lora is LORA and "ignored" in source.left_out
    assert source.metadata | {"autolora.version": ""} == {
        "format": "pt", "autolora.version": "", "autolora.source": "civitai:123/ink.safetensors",
        "autolora.source_sha256": "a" * 64, "autolora.source_layout": "kohya", "modelspec.title": "Ink wash",
        "modelspec.architecture": "flux-1-dev/lora", "modelspec.license": "mit",
        "modelspec.trigger_phrase": "inkwsh, ink",
    }  # fmt: skip


def test_the_header_of_an_own_file_is_read_through_the_link_of_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_source, "read_header", read_header)
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / "cat.safetensors", metadata=HEADER)
    link = weights_path(tmp_path, ROWS[1]["sha256"])
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "cat.safetensors")
    assert open_source("cat", tmp_path, BASE).metadata["modelspec.license"] == HEADER["modelspec.license"]


def test_unknown_license_and_trigger_words_are_left_out() -> None:
    source = opened("cat")
    assert source.left_out == ""
    assert source.metadata["modelspec.license"] == HEADER["modelspec.license"]
    assert "modelspec.trigger_phrase" not in source.metadata


def test_title_is_the_id_if_the_header_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_source, "read_header", lambda path, bounds: SimpleNamespace(metadata={}))
    assert opened("cat").metadata["modelspec.title"] == "cat"
    assert "modelspec.license" not in opened("cat").metadata


def test_a_file_of_the_index_has_the_facts_of_header_and_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ink.safetensors"
    path.write_bytes(b"the hash counts")
    reading = SimpleNamespace(lora=LORA, metadata=HEADER, layout="kohya", ignored_keys=())
    monkeypatch.setattr(export_source, "read", lambda path, slots, bounds: reading)
    monkeypatch.setattr(export_source, "hash_file", lambda path: "a" * 64)
    metadata = opened(str(path)).metadata
    assert metadata == opened("123").metadata
    monkeypatch.setattr(export_source, "hash_file", lambda path: "c" * 64)
    assert opened(str(path)).metadata["modelspec.license"] == "other"
    assert "autolora.source" not in opened(str(path)).metadata


def test_name_of_no_adapter_is_an_error() -> None:
    with pytest.raises(MissingArtifact, match="contains no adapter"):
        opened("dog")


def test_name_outside_of_a_project_is_an_error() -> None:
    with pytest.raises(MissingArtifact, match="no project"):
        open_source("cat", None, BASE)
