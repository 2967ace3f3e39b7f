"""`autolora generate --like`: the same pixels, what is given beside it, and what differs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from typer.testing import CliRunner

from autolora.cli import app
from autolora.cli.repetition import ImageRequest, find_style
from autolora.errors import MismatchError
from autolora.generation.provenance import read_provenance
from autolora.records import Hit
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
    assert len(changed["adapters"]) == 1 and changed["gate_means"] is None
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


def test_a_method_with_roles_asks_which_adapter_is_the_style(project: Path) -> None:
    pair = (
        "a cat",
        "--adapter",
        "author0/cat",
        "--adapter",
        "author1/neon",
        "--method",
        "klora",
        "-o",
        "k.png",
    )
    assert "which adapter is the style, huggingface:author0/cat or huggingface:author1/neon" in run(
        *pair, code=1
    )
    output = run(*pair, "--style", "author0/cat")
    assert "method: klora\n" in output and "choosing" not in output
    assert "style: huggingface:author0/cat (" in output and "content: huggingface:author1/neon (" in output
    reversed_pair = (pair[0], *pair[3:5], *pair[1:3], *pair[5:7])
    before = pixels(project / "k.png")
    run(*reversed_pair, "--style", "author0/cat", "-o", "reversed.png")
    assert pixels(project / "reversed.png") == before, "the order does not matter"
    assert "the same pixels as k.png" in run("--like", "k.png")
    other = run("--like", "k.png", "--style", "author1/neon")
    assert "style (sha256): " in other and "style: huggingface:author1/neon (" in other
    assert "method: klora → direct" in run("--like", "k.png", "--method", "direct", "-o", "second.png")
    assert (
        "the style 'author7/cat' is not one of the adapters (huggingface:author0/cat, huggingface:author1/neon)"
        in run(*pair, "--style", "author7/cat", code=1)
    )
    assert "the method `direct` makes no difference between adapters" in run(
        "a cat", "-k", "2", "--style", "author0/cat", code=1
    )


def test_the_output_names_the_method_or_the_base_model(project: Path) -> None:
    output = run("a cat", "-k", "2", "--method", "velocity", "-o", "v.png")
    assert output.startswith("choosing adapters\ndrawing with") and "(replaced)" not in output
    assert "method: velocity (velocity_factor 0.85, velocity_share 1)" in output
    output = run("a cat", "--adapter", "author0/cat:0", "-o", "v.png")
    assert "v.png (replaced)\n" in output
    assert "strength 0 (does not act): huggingface:author0/cat" in output and "the base model alone" in output
    output = run("a cat", "-k", "0", "-o", "v.png")
    assert "  the base model alone\n" in output and "choosing" not in output and "method" not in output
    assert "method" not in read_provenance(project / "v.png")["generation"]


def test_a_style_that_several_adapters_are_called_needs_a_sha256() -> None:
    first = Hit(
        rank=1, score=0.5, relevance=None, sha256="a" * 64, hub="civitai", id="7", file="1.st", license=None,
        nsfw=False, trigger_words=(), index="i",
    )  # fmt: skip
    second, request = replace(first, sha256="b" * 64, file="2.st"), cast(ImageRequest, None)
    assert find_style("bbbbbb", [first, second], request) == second
    with pytest.raises(
        MismatchError, match=r"'7' is the name of several adapters: give .* one of aaaaaaaa \(1\.st\), bb"
    ):
        find_style("7", [first, second], request)
    with pytest.raises(MismatchError, match=r"'7' is not one of the adapters \(there are none\): give both"):
        find_style("7", [], request)


def test_what_is_wrong_is_said_before_the_base_model_is_loaded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.models.load_pipeline", pytest.fail)
    drawing = ("a cat", "-k", "3", "--method")
    output = run(*drawing, "klora", code=1)
    assert "K-LoRA combines a content adapter and a style adapter, but 3 are given (huggingface:" in output
    assert "drawing with" not in output + run("a cat", "--adapter", "nobody/nothing", code=1)
    monkeypatch.setattr("autolora.fusion.store.folder", lambda root: project / "nowhere")
    assert "no trained gates in" in run(*drawing, "gated", code=1)


def test_an_adapter_is_given_once(project: Path) -> None:
    twice = ("--adapter", "author0/cat", "--adapter", "huggingface:author0/cat:0.5")
    assert "the adapter huggingface:author0/cat is given twice: give it once" in run("a cat", *twice, code=1)


def test_usage_errors(project: Path, image: Path) -> None:
    assert "give a prompt, or an image to repeat" in run(code=2)
    assert "image.jpg must be a file that ends in .png" in run("a cat", "-o", "image.jpg", code=2)
    before = image.read_bytes()
    assert "is the image to repeat" in run("--like", "first.png", "-o", "./first.png", code=2)
    assert image.read_bytes() == before
    assert "missing.png does not exist: give a PNG" in run("--like", "missing.png", code=1)


def test_show_prints_where_the_adapters_acted(image: Path) -> None:
    result = CliRunner().invoke(app, ["show", str(image)], env={"COLUMNS": "400"})
    assert "author0/cat: 0.95 in all blocks and steps" in result.output
    content = json.loads(CliRunner().invoke(app, ["show", str(image), "--json"]).output)
    assert content["gate_means"]["shape"][1:] == [3, 3]
