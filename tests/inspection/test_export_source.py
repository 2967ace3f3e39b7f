"""What is exported from an index: the adapter with its origin, license and trigger words."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from autolora.errors import MissingArtifact
from autolora.index.copies import Rows
from autolora.inspection import export_source
from autolora.inspection.export_source import ExportSource, open_source
from tests.inspection.files import BASE
from tests.lora.writing import draw_lora

LORA = draw_lora()
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


def opened(name: str) -> ExportSource:
    return open_source(name, Path("/project"), BASE)


@pytest.mark.parametrize("name", ["123", "civitai:123", "civitai:123/ink.safetensors", "aaaaaa"])
def test_adapter_has_the_names_of_generate(name: str) -> None:
    source = opened(name)
    assert source.lora is LORA and "ignored" in source.left_out
    assert source.metadata | {"autolora.version": ""} == {
        "format": "pt", "autolora.version": "", "autolora.source": "civitai:123/ink.safetensors",
        "autolora.source_sha256": "a" * 64, "autolora.source_layout": "kohya", "modelspec.title": "123",
        "modelspec.license": "mit", "modelspec.trigger_phrase": "inkwsh, ink",
    }  # fmt: skip


def test_unknown_license_and_trigger_words_are_left_out() -> None:
    source = opened("cat")
    assert source.left_out == ""
    assert not {"modelspec.license", "modelspec.trigger_phrase"} & set(source.metadata)


def test_name_of_no_adapter_is_an_error() -> None:
    with pytest.raises(MissingArtifact, match="contains no adapter"):
        opened("dog")


def test_name_outside_of_a_project_is_an_error() -> None:
    with pytest.raises(MissingArtifact, match="no project"):
        open_source("cat", None, BASE)
