"""Captions by a real vLLM server of the playground's VLM: through the functions, and through the stage."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from autolora import captions as stage
from autolora import vlm
from autolora.params import Params, load
from tests.chat import Server
from tests.integration.repository import ROOT, change_params, free_port, serve
from tests.pictures import draw_pictures, write_pictures

NUM_PICTURES = 20
MODEL = ROOT / "playground" / "models" / "vlm"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a vLLM server, from serve/; its virtual environment is made if it is missing."""
    subprocess.run([ROOT / "serve/setup.sh", "cpu"], check=True, env=os.environ | {"PYTHON": sys.executable})
    port = free_port()
    command = [str(ROOT / "serve/start.sh"), str(MODEL), str(port)]
    with serve(command, f"http://127.0.0.1:{port}/health", ROOT, patience_s=600):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def root(tmp_path: Path, server: str) -> Path:
    """A pool of 20 pictures, to be captioned by the server."""
    pictures = draw_pictures(NUM_PICTURES)
    write_pictures(tmp_path, {f"a/{n}": pictures[4 * n : 4 * n + 4] for n in range(NUM_PICTURES // 4)})
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    changes = {
        "models": {"vlm": str(MODEL)},
        "captions": {"engine": "vllm"},
        "vllm": {"url": f"{server}/v1", "attempts": 2},
    }
    change_params(tmp_path / "params.yaml", changes)
    return tmp_path


def answered(server: str) -> int:
    """Return how many requests the server has answered since it started."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    return int(
        sum(float(value) for value in re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", metrics, re.M))
    )


def caption_all(root: Path, values: Params) -> str:
    """Run the stage's functions as its flow does, several batches at once; return the digest."""
    name = vlm.digest(values.models)
    batches = stage.plan(root, values.captions, name)
    if batches:
        engine = vlm.captioner(values.models, values.captions, values.vllm)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda batch: stage.caption_batch(root, values.captions, batch, engine), batches))
    return stage.finish(root, values.captions, name)


def run_stage(root: Path, api: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m flows.captions` in that root."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": api}
    command = [sys.executable, "-m", "flows.captions"]
    return subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True)


def written(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return what the stage has written, with time stamps."""
    paths = [*root.glob("data/captions/*"), *root.glob("digests/*")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_functions_ask_once_a_picture_and_length(root: Path, server: str) -> None:
    values = load(root / "params.yaml")
    before = answered(server)
    digest = caption_all(root, values)
    wanted = NUM_PICTURES * len(asdict(values.captions.instructions))
    assert len(stage.captions(root)) == wanted
    assert answered(server) - before == wanted
    kept = written(root)
    assert caption_all(root, values) == digest
    assert answered(server) - before == wanted
    assert written(root) == kept


def test_stage_asks_once_and_a_second_run_asks_nothing(root: Path, server: str, prefect_api: str) -> None:
    before = answered(server)
    first = run_stage(root, prefect_api)
    assert first.returncode == 0, first.stderr
    asked = answered(server) - before
    kept = written(root)
    second = run_stage(root, prefect_api)
    assert second.returncode == 0, second.stderr
    assert asked == len(stage.captions(root)) == 3 * NUM_PICTURES
    assert answered(server) - before == asked
    assert written(root) == kept
    assert json.loads(kept["captions.json"][0])["rows"] == asked


def test_both_engines_tell_the_same(root: Path, tmp_path: Path) -> None:
    values = load(root / "params.yaml")
    caption_all(root, values)
    told = {(row.image, row.prompt): row.text for row in stage.captions(root)}
    stage.captions_path(root).unlink()
    caption_all(root, replace(values, captions=replace(values.captions, engine="transformers")))
    same = [told[row.image, row.prompt] == row.text for row in stage.captions(root)]
    assert len(same) == len(told)
    assert sum(same) >= 0.9 * len(same)


def test_server_lost_midway_keeps_whole_batches_and_the_rest_is_asked_later(
    root: Path, server: str, prefect_api: str
) -> None:
    values = load(root / "params.yaml")
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        dying = Server(http, vlm.digest(values.models))
        dying.answers = [(200, "a red house")] * 40 + [(503, "")] * 1000
        change_params(root / "params.yaml", {"vllm": {"url": http.url_for("/v1")}})
        failed = run_stage(root, prefect_api)
    assert failed.returncode == 1
    assert "CaptionError: no vLLM server answers" in failed.stderr
    kept = len(stage.captions(root))
    assert 0 < kept <= 40
    assert not (root / "digests").exists()
    before = answered(server)
    caption_all(root, values)
    assert answered(server) - before == 3 * NUM_PICTURES - kept
    assert len(stage.captions(root)) == 3 * NUM_PICTURES


def test_server_down_fails_the_stage_and_writes_nothing(root: Path, prefect_api: str) -> None:
    change_params(root / "params.yaml", {"vllm": {"url": f"http://127.0.0.1:{free_port()}/v1"}})
    failed = run_stage(root, prefect_api)
    assert failed.returncode == 1
    assert "CaptionError: no vLLM server answers at http://127.0.0.1" in failed.stderr
    assert "make serve" in failed.stderr
    assert not written(root)
