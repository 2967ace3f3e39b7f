"""Captions by a real vLLM server of the playground's VLM: by the functions, by the stage, and with a killed server."""

import base64
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.captions import stage
from autolora.captions import store as captions_store
from autolora.catalog import failed_items
from autolora.params import Params, load
from playground.repository import ROOT, change_params, free_port, wait_for
from tests.support.fake_openai import FakeOpenAI
from tests.support.images import draw_images, write_pooled_images
from tests.support.proxy import Counts, counted
from tests.support.waiting import LIMIT_S, wait_until

NUM_IMAGES, NUM_IMAGES_FOR_KILL = 20, 50
MODEL = ROOT / "playground" / "models" / "vlm"
VLLM = (sys.executable, "-m", "autolora", "vllm", "--cpu")


class VllmServer:
    """A vLLM server, `autolora vllm`, in a process group of its own, that can be killed and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [*VLLM, "--port", str(self.port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
        wait_for(f"{self.address}/health", self.process, patience_s=1200)

    def kill(self) -> None:
        """Kill all its processes with SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def vllm_server() -> Iterator[VllmServer]:
    """A vLLM server; its virtual environment is made if it is missing."""
    server = VllmServer()
    yield server
    server.kill()


@pytest.fixture
def server(vllm_server: VllmServer) -> str:
    """The server's address."""
    return vllm_server.address


@pytest.fixture
def root(tmp_path: Path, server: str) -> Path:
    """A pool of 20 images, to be captioned by the server."""
    return write_root(tmp_path, NUM_IMAGES, {"urls": [f"{server}/v1"]})


def write_root(folder: Path, num_images: int, server: dict[str, object]) -> Path:
    """Write a pool of images, and params that name a server."""
    images = draw_images(num_images)
    write_pooled_images(folder, {f"a/{n}": images[n : n + 4] for n in range(0, num_images, 4)})
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    changes = {"models": {"vlm": str(MODEL)}, "captions": {"engine": "vllm"}, "vllm": server}
    change_params(folder / "params.yaml", changes)
    shutil.copytree(ROOT / "digests/code", folder / "digests/code")
    return folder


def answered(server: str) -> int:
    """Return how many requests the server has answered since it started."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=LIMIT_S) as answer:
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
    return stage.finish(root, values.captions, name, "float32", date(2026, 1, 5))


def run_stage(root: Path, api: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m flows.captions` in that root."""
    process = start_stage(root, api)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def start_stage(root: Path, api: str) -> subprocess.Popen[str]:
    """Start `python -m flows.captions` in that root."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": api}
    command = [sys.executable, "-m", "flows.captions"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=root, env=environment, text=True, **pipes)


def written(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return the files that the stage has written, with modification times."""
    paths = [*root.glob("data/captions/*"), *root.glob("digests/*.json")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_functions_send_one_request_per_image_and_length(root: Path, server: str) -> None:
    values = load(root / "params.yaml")
    before = answered(server)
    digest = caption_all(root, values)
    wanted = NUM_IMAGES * len(asdict(values.captions.instructions))
    assert len(captions_store.read_captions(root)) == wanted
    assert answered(server) - before == wanted
    files = written(root)
    assert caption_all(root, values) == digest
    assert answered(server) - before == wanted
    assert written(root) == files


def test_stage_sends_each_request_once_and_none_in_a_second_run(
    root: Path, server: str, prefect_api: str
) -> None:
    before = answered(server)
    first = run_stage(root, prefect_api)
    assert first.returncode == 0, first.stderr
    asked = answered(server) - before
    files = written(root)
    second = run_stage(root, prefect_api)
    assert second.returncode == 0, second.stderr
    assert asked == len(captions_store.read_captions(root)) == 3 * NUM_IMAGES
    assert answered(server) - before == asked
    assert written(root) == files
    assert json.loads(files["captions.json"][0])["rows"] == asked


def test_both_engines_give_the_same_captions(root: Path, tmp_path: Path) -> None:
    values = load(root / "params.yaml")
    caption_all(root, values)
    expected = {(row.image, row.prompt): row.text for row in captions_store.read_captions(root)}
    captions_store.captions_path(root).unlink()
    caption_all(root, replace(values, captions=replace(values.captions, engine="transformers")))
    same = [expected[row.image, row.prompt] == row.text for row in captions_store.read_captions(root)]
    assert len(same) == len(expected)
    assert sum(same) >= 0.9 * len(same)


def test_answers_of_a_failing_server_are_stored_and_only_the_rest_is_requested_later(
    root: Path, server: str, prefect_api: str
) -> None:
    values = load(root / "params.yaml")
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        dying = FakeOpenAI(http, vlm.digest(values.models))
        dying.responses = [(200, "a red house")] * 40 + [(503, "")] * 1000
        change_params(root / "params.yaml", {"vllm": {"urls": [http.url_for("/v1")]}})
        failed = run_stage(root, prefect_api)
    assert failed.returncode == 1
    assert "CaptionError: no vLLM server answers" in failed.stderr
    stored = len(captions_store.read_captions(root))
    assert stored == 40
    assert not (root / "digests/captions.json").exists()
    before = answered(server)
    caption_all(root, values)
    assert answered(server) - before == 3 * NUM_IMAGES - stored
    assert len(captions_store.read_captions(root)) == 3 * NUM_IMAGES


def test_refused_image_fails_the_stage_after_all_others_are_captioned(
    tmp_path: Path, prefect_api: str
) -> None:
    refused = base64.b64encode(draw_images(1)[0]).decode()
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        root = write_root(tmp_path, NUM_IMAGES, {"urls": [http.url_for("/v1")]})
        fake = FakeOpenAI(http, vlm.digest(load(root / "params.yaml").models))
        fake.status = lambda request: 400 if refused in json.dumps(request) else 200
        failed = run_stage(root, prefect_api)
    (item,) = failed_items.read(root).values()
    assert failed.returncode == 1
    assert f"CaptionError: 1 images have no caption: {item.name} (the vLLM server at" in failed.stderr
    assert len(captions_store.read_captions(root)) == 3 * (NUM_IMAGES - 1)
    assert not (root / "digests/captions.json").exists()


def test_unreachable_server_fails_the_stage_which_writes_nothing(root: Path, prefect_api: str) -> None:
    change_params(root / "params.yaml", {"vllm": {"urls": [f"http://127.0.0.1:{free_port()}/v1"]}})
    failed = run_stage(root, prefect_api)
    assert failed.returncode == 1
    assert "CaptionError: no vLLM server answers at http://127.0.0.1" in failed.stderr
    assert "`autolora vllm --cpu`" in failed.stderr
    assert not written(root)


@pytest.mark.long(full=20, sample=1)
def test_killed_server_loses_no_answer_and_answers_no_request_twice(
    tmp_path: Path, vllm_server: VllmServer, prefect_api: str, seed: int
) -> None:
    wanted = NUM_IMAGES_FOR_KILL * 3
    with counted(vllm_server.port) as (address, counts):
        root = write_root(tmp_path, NUM_IMAGES_FOR_KILL, {"urls": [f"{address}/v1"]})
        running = start_stage(root, prefect_api)
        wait_for_answers(counts, random.Random(seed).randint(1, wanted - 30), running)
        vllm_server.kill()
        wait_until(lambda: not counts.in_flight)  # answers may still be in the proxy
        before = counts.answered.total()
        vllm_server.start()
        stdout, stderr = running.communicate(timeout=600)
    assert running.returncode == 0, stderr
    assert f"{wanted} captions written" in stdout
    captions = Counter((row.image, row.prompt) for row in captions_store.read_captions(root))
    assert len(captions) == captions.total() == wanted
    assert len(counts.answered) == counts.answered.total() == wanted
    assert not counts.repeated
    # Only requests without an answer are sent twice: those that the dying server had accepted.
    assert 0 < before < wanted
    assert len(counts.lost) <= wanted - before
    assert answered(vllm_server.address) == wanted - before


def wait_for_answers(counts: Counts, number: int, running: subprocess.Popen[str]) -> None:
    """Wait until the server has answered this many requests."""
    while counts.answered.total() < number:
        assert running.poll() is None, running.communicate()
        time.sleep(0.001)
