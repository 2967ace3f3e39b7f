"""`autolora inspect`: tables, JSON and exit codes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from safetensors.torch import save_file
from typer.testing import CliRunner

from autolora import progress
from autolora.cli import app
from autolora.cli.row_printer import RowPrinter
from autolora.hubs.folder.scan import id_of
from autolora.inspection import content
from autolora.inspection import inspector as module
from autolora.inspection.files import find_files
from tests.inspection.files import BASE, rewrite, write_folder, write_pipeline
from tests.support.waiting import wait_for_line

WIDE = {"COLUMNS": "300"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of files beside a pipeline, outside of any project; the working directory is above both."""
    monkeypatch.chdir(tmp_path)
    write_pipeline(tmp_path / "flux")
    return write_folder(tmp_path / "loras")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["inspect", *arguments, "--pipeline", "flux"], env=WIDE)
    return result.exit_code, result.stdout, result.stderr


def test_folder_is_a_table_with_totals_and_remedies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 600.0)
    code, out, err = run("loras")
    assert code == 1
    assert "7 files in" in out and "4 accepted, 3 refused" in out
    assert "truncated (1): the file is shorter than its header requires\n    Download the file again." in out
    assert "same bytes as cat.safetensors" in out and "1 with the same bytes, 1 with nearly" in out
    assert "2 double and 1 single blocks of width 16" in out
    assert err.startswith("inspecting loras\n") and "[inspect]" not in err


def test_file_that_fails_unexpectedly_is_a_row_and_the_exit_status_is_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("broken", "pickle", "away"):
        (folder / f"{name}.safetensors").unlink()
    original = content.read_unchecked

    def failing(path: Path, *rest: Any) -> Any:
        if path.name == "dog.safetensors":
            raise ZeroDivisionError("injected")
        return original(path, *rest)

    assert run("loras")[0] == 0
    monkeypatch.setattr(content, "read_unchecked", failing)
    code, out, _ = run("loras")
    assert code == 1 and "3 accepted, 1 refused" in out
    assert "dog.safetensors cannot be read: unexpected ZeroDivisionError" in out
    assert "unreadable (1): the file cannot be read\n    Check that you may read the file" in out


def test_long_inspections_log_what_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.001)
    accepted = module.Inspector._accepted
    monkeypatch.setattr(
        module.Inspector, "_accepted", lambda *arguments: (wait_for_line(caplog), accepted(*arguments))[1]
    )
    run("loras")
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("[inspect] 2 of 7 files, ") and line.endswith(" left") for line in lines)


def test_json_has_one_object_per_line(folder: Path) -> None:
    code, out, _ = run("loras", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert len(rows) == 7


@pytest.mark.slow
def test_cut_ends_of_a_gallerys_prompts_are_not_reported(tmp_path: Path) -> None:
    playground = Path(__file__).parents[2] / "playground"
    folder = tmp_path / "cats"
    shutil.copytree(playground / "pool/bytebrush/the-beala-thing", folder)
    prompt = " ".join(["a red cat against the night sky"] * 8)
    (folder / "the-beala-thing.json").write_text(json.dumps({"trigger_words": [prompt]}))
    arguments = ["inspect", str(folder), "--encoder", str(playground / "encoder")]
    done = subprocess.run(
        [sys.executable, "-m", "autolora", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0 and "cat" in done.stdout, done.stderr
    assert "tokens that CLIP reads" not in done.stderr


def test_accepted_file_exits_with_zero(folder: Path) -> None:
    code, out, err = run("loras/cat.safetensors")
    assert code == 0 and "accepted: a LoRA for" in out and "peft" in out
    assert "give an encoder (--encoder) for words" in err


def test_file_of_another_base_model_names_the_option(folder: Path) -> None:
    write_pipeline(folder.parent / "smaller", num_layers=1)
    result = CliRunner().invoke(app, ["inspect", "loras", "--pipeline", "smaller"], env=WIDE)
    assert "wrong-base (4)" in result.stdout and "for FLUX.1-dev: --pipeline flux.1-dev" in result.stdout


def test_params_of_another_tool_do_not_matter(folder: Path) -> None:
    Path("params.yaml").write_text("train: {lr: 0.1}")
    code, _, err = run("loras/cat.safetensors")
    assert code == 0 and "going on without a project: " in err and "params.yaml" in err


def test_refused_file_exits_with_one(folder: Path) -> None:
    code, out, _ = run("loras/pickle.safetensors")
    assert code == 1 and "refused (pickle)" in out and "Ask the author for a safetensors file" in out


def test_header_cannot_change_markup_or_terminal(folder: Path) -> None:
    hostile = "[red]x[/red] <script>alert(1)</script>\x1b[31m"
    rewrite(folder / "cat.safetensors", {"modelspec.title": hostile, "modelspec.trigger_phrase": hostile})
    _, out, _ = run("loras/cat.safetensors")
    assert "[red]x[/red]" in out and "\x1b[31m" not in out


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["none"], "does not exist", 1),
        (["loras", "--encoder", "./none"], "./none", 1),
    ],
)
def test_wrong_arguments_are_errors(folder: Path, arguments: list[str], message: str, code: int) -> None:
    exit_code, out, err = run(*arguments)
    assert exit_code == code and message in out + err


@pytest.mark.parametrize("columns", [40, 80, 110, 200])
def test_rows_fit_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    files = find_files(folder).files
    rows = RowPrinter([f"{'猫' * 20}/{file.path}" for file in files])
    for inspection in module.Inspector(BASE, None).inspect_all(files):
        rows.print(replace(inspection, path=f"{'猫' * 20}/{inspection.path}"))
    lines = capsys.readouterr().out.splitlines()
    assert all(cell_len(line) < columns for line in lines)
    names = [id_of(f"{'猫' * 20}/{file.path}") for file in files]
    whole = [name for name in names if any(f"{line} ".startswith(f"{name} ") for line in lines)]
    assert whole == ([] if columns == 40 else names)
    assert sum(line.startswith("…") for line in lines) == (len(files) if columns == 40 else 0)
    assert "peft" in lines[lines.index(names[2]) + 1 if columns in (80, 110) else 3]


def test_a_missing_file_is_named_before_torch_is_imported(tmp_path: Path) -> None:
    script = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
        "from autolora.cli import app; app(['inspect', 'none.safetensors'])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "none.safetensors does not exist" in done.stderr and done.stdout == "False\n"


def test_names_cannot_control_the_terminal(folder: Path) -> None:
    shutil.copy(folder / "cat.safetensors", folder / "evil\x1b[31m.safetensors")
    for path in ("loras", "loras/evil\x1b[31m.safetensors"):
        _, out, err = run(path)
        assert "\x1b[31m" not in out + err and "evil" in out + err


def test_made_for_is_shown_of_accepted_and_refused_files(folder: Path) -> None:
    krea = {f"diffusion_model.blocks.{n}.attn.wk.lora_{role}.weight": torch.ones(shape)
            for n in range(2) for role, shape in (("A", (2, 6144)), ("B", (1536, 2)))}  # fmt: skip
    save_file(krea, folder / "krea.safetensors", {"modelspec.architecture": "flux-1-dev/lora"})
    _, out, _ = run("loras/krea.safetensors")
    facts = " ".join(out.split())
    assert "made for Krea 2, by ai-toolkit; inspected for" in facts
    assert "means FLUX.1, but the weights are for Krea 2" in facts
    assert "Krea 2, by ai-toolkit; this base model is another one" in facts
    _, out, _ = run("loras/krea.safetensors", "--json")
    row = json.loads(out)
    assert (row["made_for"]["base"], row["made_for"]["writer"], row["made_for"]["certainty"]) == (
        "Krea 2",
        "ai-toolkit",
        "sure",
    )
    (folder / "krea.json").write_text(json.dumps({"base_model": "SDXL 1.0"}))
    _, out, _ = run("loras", "--json")
    rows = {row["path"]: row for row in map(json.loads, out.splitlines())}
    assert rows["krea.safetensors"]["disagreements"][1] == (
        "the label 'SDXL 1.0' means Stable Diffusion XL, but the weights are for Krea 2"
    )
    assert rows["cat.safetensors"]["disagreements"] == []
    _, out, _ = run("loras/cat.safetensors")
    assert f"made for {folder.parent}/flux, by diffusers" in " ".join(out.split())


def test_a_name_that_means_another_base_which_the_weights_fit_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five double blocks, as FLUX.2-klein 4B has them, fit FLUX.1-dev."""
    monkeypatch.chdir(tmp_path)
    tensors = {
        f"transformer.transformer_blocks.{number}.attn.to_q.lora_{role}.weight": torch.ones(shape)
        for number in range(5)
        for role, shape in (("A", (1, 3072)), ("B", (3072, 1)))
    }
    for name in ("klein_4b_anime", "ink"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "ink.json").write_text(json.dumps({"base_model": "Flux.1 D"}))
    result = CliRunner().invoke(app, ["inspect", ".", "--json"], env=WIDE)
    rows = {row["path"]: row for row in map(json.loads, result.stdout.splitlines())}
    (sentence,) = rows["klein_4b_anime.safetensors"]["disagreements"]
    assert sentence.startswith(
        "the file's name means FLUX.2, and the weights fit FLUX.2-klein 4B as well as FLUX.1"
    )
    assert rows["ink.safetensors"]["disagreements"] == []
    assert "the file's name means FLUX.2" in CliRunner().invoke(app, ["inspect", "."], env=WIDE).stdout
