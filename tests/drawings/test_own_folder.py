"""`autolora index --draw` lets one's own files draw."""

import json
from pathlib import Path

import pytest

from autolora.cli.index import describe
from autolora.generation.images import Generator
from autolora.local.project import PARAMS_FILE, set_values
from autolora.local.settings import new_project
from autolora.pool.drawings import read_drawings
from autolora.search.retriever import open_retriever
from tests.local.own_folder import ENCODER, FILES, REPOSITORY, copy, first_hit, index, show

VALUES = {
    "captions.engine": "transformers",
    "captions.instructions.short": "Name this picture in a few words.",
    "captions.instructions.medium": "Describe this picture in one sentence.",
    "captions.instructions.long": "Describe this picture in detail.",
    "captions.max_tokens": 48,
    "generation.width": 64,
    "generation.height": 64,
    "generation.max_sequence_length": 32,
    "models.pipeline": str(REPOSITORY / "playground/models/flux"),
    "models.pipeline_revision": None,
    "models.vlm": str(REPOSITORY / "playground/models/vlm"),
    "models.vlm_revision": None,
    "models.device": "cpu",
    "models.dtype": "float32",
}


@pytest.mark.slow
def test_files_without_images_draw_once_and_are_found_by_what_they_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names say nothing. The playground's VLM answers its own instructions only."""
    for number, theme in enumerate(FILES):
        copy(theme, tmp_path / "loras" / f"file{number}.safetensors")
    (tmp_path / "loras" / "file0.civitai.info").write_text(json.dumps({"nsfwLevel": 16}))
    root = tmp_path / "project"
    root.mkdir()
    path = new_project(root, tmp_path / "loras", str(ENCODER))
    assert path.name == PARAMS_FILE
    path.write_text(set_values(path.read_text(), VALUES))
    report = index(root)
    assert (report.drawn, report.drawings) == (0, 0)
    assert (report.undrawn, report.restricted) == (["file1", "file2"], ["file0"])
    path.write_text(set_values(path.read_text(), {"drawings.per_day": 1}))
    report = index(root, draw=True)
    assert (report.drawn, len(report.undrawn), report.captions) == (1, 1, 4 * 3)
    assert (
        "1 LoRA without images can draw some (`autolora index --draw`, at most 1 on a day by drawings.per_day)"
        in (list(describe(report, 1.0)))
    )
    path.write_text(set_values(path.read_text(), {"drawings.per_day": 0, "drawings.restricted": True}))
    report = index(root, draw=True)
    assert (report.drawn, report.drawings, report.captions) == (2, 12, 2 * 4 * 3)
    assert not report.undrawn and not report.restricted
    assert first_hit(root, "a duck") == "file1"
    retriever = open_retriever(root)
    assert retriever.what_it_does(retriever.index.rows.columns["id"].to_pylist().index("file1")).startswith(
        "by its drawings: "
    )
    title, *files = show(root, "file1")["renderings"].splitlines()
    assert title == "none; 4 drawn by this project with the base model:" and len(files) == 4
    assert all(Path(file.split(": ")[0]).read_bytes() for file in files)
    monkeypatch.setattr(Generator, "pipeline", property(lambda self: pytest.fail("draws again")))
    assert index(root, draw=True).drawn == 0
    (tmp_path / "loras" / "file2.safetensors").unlink()
    assert index(root).drawn == 0 and len(read_drawings(root)) == 2
