"""What an index states about a file that it contains: in the terminal and as JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.index.served import open_index
from autolora.inspection.inspection import find_entry
from autolora.local.settings import new_project
from autolora.models import ClipTextEncoder
from tests.local.own_folder import ENCODER, copy, index
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import make_adapters


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with an index of two files, one with a sidecar; it is the working directory."""
    copy("cat", tmp_path / "loras/inky.safetensors")
    copy("duck", tmp_path / "loras/plain.safetensors")
    sidecar = {"license": "mit", "trigger_words": ["<b>inkwsh</b>"]}
    (tmp_path / "loras/inky.json").write_text(json.dumps(sidecar))
    root = tmp_path / "project"
    root.mkdir()
    new_project(root, tmp_path / "loras", str(ENCODER))
    index(root)
    monkeypatch.chdir(root)
    return root


def inspect(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_a_copy_elsewhere_is_known_by_its_bytes(project: Path) -> None:
    downloads = project.parent / "downloads"
    for theme, name in (("cat", "a"), ("duck", "b"), ("chalkboard", "c")):
        copy(theme, downloads / f"{name}.safetensors")
    rows = [json.loads(line) for line in inspect(downloads, "--json")[0].splitlines()]
    unknown = {"captions_agree": None, "captions_verdict": ""}
    assert [row["index"] for row in rows] == [
        {"name": "folder:inky.safetensors", "license": "mit", "trigger_words": ["<b>inkwsh</b>"], **unknown},
        {"name": "folder:plain.safetensors", "license": None, "trigger_words": [], **unknown},
        None,
    ]
    out, _ = inspect(downloads / "a.safetensors")
    facts = [" ".join(line.strip("│ ").split()) for line in out.splitlines()]
    assert "in the index folder:inky.safetensors" in facts and "license (index) mit" in facts, out
    assert "trigger words (index) <b>inkwsh</b>" in facts


def test_an_index_is_used_with_any_encoder(project: Path) -> None:
    path = copy("cat", project.parent / "a.safetensors")
    out, _ = inspect(path, "--encoder", ENCODER)
    assert "folder:inky.safetensors" in out
    (project / "cache/served").write_text("0" * 64)
    out, err = inspect(path, "--encoder", ENCODER)
    assert "folder:inky.safetensors" not in out
    assert "files are not looked up in the index: index 000000000000 has no copy" in err


@pytest.mark.slow
def test_verdict_on_captions_is_that_of_the_index(tmp_path: Path, text_encoder: ClipTextEncoder) -> None:
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(tmp_path, text_encoder, adapters)
    swapped = with_captions_of(adapters[0], adapters[-1])
    write_hybrid(tmp_path, text_encoder, [swapped, *adapters[1:]])
    opened = open_index(tmp_path)
    wrong, right = find_entry(opened, swapped.sha256), find_entry(opened, adapters[1].sha256)
    assert wrong and wrong.captions_agree is False and "not used in searches" in wrong.captions_verdict
    assert (
        right
        and right.captions_agree
        and right.captions_verdict.startswith("captions agree with the weights")
    )
    assert right.name == f"huggingface:{adapters[1].listing.id}/lora.safetensors"
    assert find_entry(opened, "0" * 64) is None
