"""Folder and encoder of a project: written once, checked before, never replaced."""

from pathlib import Path

import pytest

from autolora.errors import AutoLoraError, MissingArtifact, ParamsError
from autolora.local.project import write_project
from autolora.local.settings import complete_project, new_project
from autolora.matching.language import Language
from autolora.params import load
from autolora.publication.folder import push_to_hub
from autolora.search.retriever import open_retriever
from tests.local.own_folder import ENCODER, index
from tests.support.hf_client import serve_hub


def test_a_new_project_uses_what_comes_with_the_encoder(root: Path, folder: Path) -> None:
    params = load(root / "params.yaml")
    assert params.hubs.folder.path == str(folder)
    assert (params.encoder.from_, params.encoder.from_revision) == (str(ENCODER), None)
    assert (params.models.pipeline, params.models.pipeline_revision) == (str(ENCODER / "pipeline"), None)
    assert params.pool.sketch_size == 32
    assert Language.load(ENCODER / "data/encoder") is not None and params.encoder.has_language


@pytest.mark.parametrize("encoder", ["nowhere", "/nowhere", "."])
def test_an_encoder_that_cannot_be_used_leaves_no_project(tmp_path: Path, folder: Path, encoder: str) -> None:
    project = tmp_path / "empty"
    project.mkdir()
    with pytest.raises(AutoLoraError):
        new_project(project, folder, encoder)
    with pytest.raises(MissingArtifact, match="not a folder"):
        new_project(project, tmp_path / "missing", str(ENCODER))
    assert not list(project.iterdir())


@pytest.mark.parametrize("inner", [".", "deep/project"])
def test_a_project_does_not_lie_among_the_files(folder: Path, inner: str) -> None:
    (root := folder / inner).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ParamsError, match="lies in the folder of LoRA files"):
        new_project(root, folder, str(ENCODER))
    write_project(root, {"models.device": "cpu", "hubs.folder.path": str(folder)})
    with pytest.raises(ParamsError, match="lies in the folder of LoRA files"):
        index(root)


def test_null_is_completed_and_other_values_are_refused(tmp_path: Path, folder: Path) -> None:
    path = write_project(tmp_path, {})
    assert complete_project(tmp_path, None, None) == {}
    assert complete_project(tmp_path, folder, None) == {"hubs.folder.path": str(folder)}
    assert complete_project(tmp_path, None, str(ENCODER))["encoder.from"] == str(ENCODER)
    written = path.read_text()
    assert complete_project(tmp_path, folder, str(ENCODER)) == {}
    with pytest.raises(ParamsError, match=r"has hubs.folder.path: .*loras, but .* is given"):
        complete_project(tmp_path, folder / "deep", None)
    assert path.read_text() == written


def test_a_folder_may_be_relative_in_params(root: Path, folder: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace(str(folder), "../loras"))
    assert complete_project(root, folder, None) == {}


@pytest.mark.slow
def test_an_encoder_from_a_hub_is_pinned_to_its_commit(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_hub(tmp_path, monkeypatch):
        commit = push_to_hub(ENCODER, "ann/encoder")
        for name, encoder in (("latest", "ann/encoder"), ("pinned", f"ann/encoder@{commit}")):
            (root := tmp_path / name).mkdir()
            new_project(root, folder, encoder)
            params = load(root / "params.yaml")
            assert (params.encoder.from_, params.encoder.from_revision) == ("ann/encoder", commit)
            assert complete_project(root, folder, encoder) == {}
    index(root)
    assert open_retriever(root).search("a cat", k=1)[0].id == "file0"
