"""`autolora generate --like`: the same pixels, what is given beside it, and what differs."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from autolora.cli import app
from autolora.generation.provenance import read_provenance
from tests.support.drawing_project import build_project
from tests.support.png import png


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


@pytest.fixture(scope="module")
def image(project: Path) -> Path:
    """Return an image of two adapters through the gates, one with a strength."""
    adapters = ("--adapter", "author0/cat:0.5", "--adapter", "author1/neon")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        output = run("a cat", *adapters, "--method", "gated", "--seed", "3", "-o", "first.png")
    assert "pixels" not in output
    return project / "first.png"


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["generate", *arguments], env={"COLUMNS": "400"})
    assert result.exit_code == code, result.output
    return result.output


def pixels(path: Path) -> bytes:
    with Image.open(path) as opened:
        return opened.tobytes()


def rewrite(path: Path, target: Path, **fields: Any) -> Path:
    """Write the image with other fields of its provenance."""
    target.write_bytes(png(read_provenance(path) | fields))
    return target


@pytest.mark.slow
def test_an_image_is_repeated_with_equal_pixels(project: Path, image: Path) -> None:
    output = run("--like", str(image))
    again = project / "images/first-again.png"
    assert "the same pixels as first.png" in output and "differ" not in output
    assert pixels(again) == pixels(image) and read_provenance(again) == read_provenance(image)
    assert "first-again-2.png\n" in run("--like", str(image), "--seed", "4")
    assert read_provenance(again) == read_provenance(image)


def test_what_is_given_beside_it_replaces_what_it_had(project: Path, image: Path) -> None:
    output = run("--like", "first.png", "--seed", "4", "-o", "second.png")
    assert "the pixels differ from those of first.png by up to" in output and "seed: 3 → 4" in output
    assert pixels(project / "second.png") != pixels(image)
    output = run("a dog", "--like", "first.png", "--method", "direct", "-k", "1", "-o", "second.png")
    changed = read_provenance(project / "second.png")
    assert (changed["prompt"], changed["method"], changed["seed"]) == ("a dog", "direct", 3)
    assert len(changed["adapters"]) == 1 and changed["gates"] is None
    for line in ("prompt: a cat → a dog", "method: gated → direct", "adapters: "):
        assert line in output


def test_size_and_steps_are_those_of_the_image(project: Path, image: Path) -> None:
    settings = read_provenance(image)["generation"] | {"width": 48, "steps": 2}
    wide = rewrite(image, project / "wide.png", generation=settings)
    assert "another size than wide.png" in run("--like", str(wide), "-o", "second.png")
    assert Image.open(project / "second.png").size == (48, 32)
    assert read_provenance(project / "second.png")["generation"]["steps"] == 2


def test_another_index_base_and_version_are_named(project: Path, image: Path) -> None:
    fields = {"index": "0" * 64, "autolora": "0.0.1", "gates": "1" * 64}
    base = {"pipeline": "other", "revision": "abc", "dtype": "bfloat16"}
    other = rewrite(image, project / "other.png", base=base, **fields)
    output = run("--like", str(other), "-o", "second.png")
    assert pixels(project / "second.png") == pixels(image)
    for line in ("base.pipeline: other → ", "base.revision: abc → none", "base.dtype: bfloat16 → float32",
                 f"index: {'0' * 64} → ", "autolora: 0.0.1 → ", f"gates: {'1' * 64} → "):  # fmt: skip
        assert line in output


def test_an_adapter_that_the_index_lacks_is_an_error_unless_others_are_given(
    project: Path, image: Path
) -> None:
    adapters = read_provenance(image)["adapters"]
    gone = rewrite(image, project / "gone.png", adapters=[adapters[0], adapters[1] | {"sha256": "0" * 64}])
    output = run("--like", str(gone), code=1)
    assert "does not contain 1 of the adapters of" in output and "author1/neon" in output
    assert not (project / "images/gone-again.png").exists()
    assert "adapters: " in run("--like", str(gone), "--adapter", "author0/cat", "-o", "second.png")


def test_an_image_of_the_base_model_is_repeated(project: Path) -> None:
    run("a cat", "-k", "0", "-o", "base.png")
    assert "the same pixels as base.png" in run("--like", "base.png", "-o", "second.png")


def test_an_image_by_a_method_of_another_version_names_the_methods(project: Path, image: Path) -> None:
    former = rewrite(image, project / "former.png", method="klora")
    output = run("--like", str(former), code=1)
    assert "no method of fusion 'klora': give one of direct, gated" in output
    assert "another version of AutoLoRA wrote it" in output


def test_the_output_names_the_method_or_the_base_model(project: Path) -> None:
    output = run("a cat", "-k", "2", "--method", "direct", "-o", "v.png")
    assert output.startswith("choosing adapters\ndrawing with") and "(replaced)" not in output
    assert "method: direct\n" in output
    output = run("a cat", "--adapter", "author0/cat:0", "-o", "v.png")
    assert "v.png (replaced)\n" in output
    assert "strength 0 (does not act): huggingface:author0/cat" in output and "the base model alone" in output
    output = run("a cat", "-k", "0", "-o", "v.png")
    assert "  the base model alone\n" in output and "choosing" not in output and "method" not in output
    assert "method" not in read_provenance(project / "v.png")["generation"]


def test_what_is_wrong_is_said_before_the_base_model_is_loaded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.models.load_pipeline", pytest.fail)
    drawing = ("a cat", "-k", "3", "--method")
    assert "drawing with" not in run("a cat", "--adapter", "nobody/nothing", code=1)
    monkeypatch.setattr("autolora.fusion.store.folder", lambda root: project / "nowhere")
    assert "no trained gates in" in run(*drawing, "gated", code=1)


def test_usage_errors(project: Path, image: Path) -> None:
    assert "give a prompt, or an image to repeat" in run(code=2)
    assert "image.jpg must be a file that ends in .png" in run("a cat", "-o", "image.jpg", code=2)
    before = image.read_bytes()
    assert "is the image to repeat" in run("--like", "first.png", "-o", "./first.png", code=2)
    assert image.read_bytes() == before
    assert "missing.png does not exist: give a PNG" in run("--like", "missing.png", code=1)
