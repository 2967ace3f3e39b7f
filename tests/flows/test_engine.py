"""The engines of the stages: which rows arrive, in this process and on Ray, and what a killed node or run costs."""

import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolora.captions import stage
from autolora.captions.store import captions_path
from autolora.errors import CaptionError, MismatchError, MissingArtifact, MissingLibrary
from autolora.params import CaptionsParams, InstructionParams
from autolora.storage.files import Row, read_rows
from autolora.storage.incremental import read_digest
from autolora.vlm.captioning import Answer, CaptionRequest, FailedImage
from flows import engine
from flows.engine import Job
from playground.repository import ROOT, free_port, kill_tree
from tests.support import killing
from tests.support.images import draw_images, write_pooled_images
from tests.support.ray_cluster import NODE, OBJECT_STORE_BYTES, cluster, kill_node
from tests.support.waiting import wait_for_server

PARAMS = CaptionsParams(
    engine="transformers",
    instructions=InstructionParams(short="Name it.", medium="Describe it.", long="Describe all of it."),
    max_tokens=16,
    max_image_side=1024,
    batch=2,
)
VLM = "v" * 64
NUM_IMAGES, NUM_CAPTIONS = 40, 120
ANSWER_S = 0.05
"""of a whole image"""


class SlowCaptioner:
    """Answers with the instruction and the name of the image, and writes the name to the file `asked`."""

    def __init__(self, asked: Path) -> None:
        self.asked = asked

    def describe(
        self, requests: Sequence[CaptionRequest], max_tokens: int, max_image_side: int
    ) -> Iterator[Answer | FailedImage]:
        for position, request in enumerate(requests):
            time.sleep(ANSWER_S)
            with self.asked.open("a") as stream:
                stream.write(f"{request.image.stem}\n")
            for instruction in request.instructions:
                text = f"{instruction} {request.image.stem}"
                yield Answer(position=position, instruction=instruction, text=text)


def open_captioner(root: Path) -> Callable[[stage.CaptionBatch], Iterator[Row]]:
    return partial(stage.caption, root, PARAMS, engine=SlowCaptioner(root / "asked"))


def caption_all(root: Path, name: str) -> None:
    """Run the stage as its flow does."""
    stage.store_leftovers(root, engine.leftovers(root, "captions"))
    batches = stage.plan(root, PARAMS, VLM)
    job = Job(root=root, stage="captions", batches=batches, open_work=partial(open_captioner, root))
    for _, rows in engine.run(job, name):
        stage.store(root, rows)


def asked(root: Path) -> int:
    """Return how many images the captioners have been asked about."""
    return len((root / "asked").read_text().splitlines()) if (root / "asked").exists() else 0


def wait_for(condition: Callable[[], bool], stopped: threading.Event) -> None:
    while not condition() and not stopped.wait(0.02):
        pass


def check_complete(root: Path) -> str:
    """Check that each caption is stored once; return the digest of the stage."""
    stored = Counter((row["image"], row["length"]) for row in read_rows(captions_path(root)))
    assert len(stored) == NUM_CAPTIONS and set(stored.values()) == {1}
    return stage.finish(root, PARAMS, VLM, "float32", date(2026, 1, 5))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of NUM_IMAGES images."""
    root = tmp_path_factory.mktemp("images")
    write_pooled_images(root, {f"a/{n}": [image] for n, image in enumerate(draw_images(NUM_IMAGES))})
    return root


@pytest.fixture(scope="module")
def digest(images: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the captions by the engine `local`."""
    root = tmp_path_factory.mktemp("local") / "root"
    shutil.copytree(images, root)
    caption_all(root, "local")
    return check_complete(root)


def count_up(number: int) -> Iterator[Row]:
    """Yield the numbers below `number`; fail at 3."""
    for below in range(number):
        if below == 3:
            raise CaptionError("no more than 3")
        yield {"below": below, "vector": np.full(2, below / 3, np.float32)} | (
            {"odd": True} if below % 2 else {}
        )


def open_counting() -> Callable[[int], Iterator[Row]]:
    return count_up


def counting(root: Path, *batches: int) -> Job[int]:
    return Job(root=root, stage="counting", batches=batches, open_work=open_counting)


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_come_with_their_batch_and_those_before_an_error_first(tmp_path: Path, threads: int) -> None:
    finished = engine.run(counting(tmp_path, 2, 4), "local", threads)
    rows = {}
    with pytest.raises(CaptionError, match="no more than 3"):
        for batch, of_batch in finished:
            rows[batch] = [row["below"] for row in of_batch]
    assert rows[4] == [0, 1, 2] and rows.get(2, [0, 1]) == [0, 1]
    assert not (tmp_path / "cache").exists()


def test_batches_that_run_beside_an_error_are_kept_and_no_other_begins(tmp_path: Path) -> None:
    failed, finished = threading.Event(), []

    def work(number: int) -> Iterator[Row]:
        if number == 0:
            failed.set()
            raise CaptionError("the server is down")
        failed.wait(10)
        time.sleep(0.2)
        yield {"number": number}

    job = Job(root=tmp_path, stage="counting", batches=range(50), open_work=open_counting, opened=work)
    with pytest.raises(CaptionError, match="the server is down"):
        for batch, rows in engine.run(job, "local", threads=2):
            finished += [batch] * len(rows)
    assert 1 in finished and len(finished) <= 3


def test_a_shard_has_the_same_values_and_is_removed_once_it_is_stored(tmp_path: Path) -> None:
    path = engine._shards(tmp_path, "counting") / "a.parquet"
    engine._write(path, [*count_up(2)])
    engine._write(path.with_name("b.parquet"), [])
    for rows in engine.leftovers(tmp_path, "counting"):
        assert path.exists() or not rows
        for row, (below, odd) in zip(rows, [(0, None), (1, True)], strict=False):
            assert (row["below"], row["odd"]) == (below, odd)
            assert (
                np.asarray(row["vector"], np.float32).tolist() == np.full(2, below / 3, np.float32).tolist()
            )
    assert not [*path.parent.iterdir()]


def answer_of(worker: engine._Worker, batch: int) -> Any:
    """Return the error that a worker answers with for a batch."""
    return pickle.loads(worker({"name": f"{batch}", "batch": pickle.dumps(batch)})["error"])


def test_a_worker_keeps_rows_before_an_error_and_repeats_no_finished_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / engine.RUN).write_text("this run")
    worker = engine._Worker(tmp_path, tmp_path, "this run", open_counting)
    for _ in range(2):  # Ray repeats a task whose node was lost
        assert isinstance(answer_of(worker, 4), CaptionError)
        assert [row["below"] for row in engine._read(tmp_path / "4-incomplete.parquet")] == [0, 1, 2]
    assert answer_of(worker, 2) is None
    written = (tmp_path / "2.parquet").stat()
    assert answer_of(worker, 2) is None
    assert (tmp_path / "2.parquet").stat() == written


def test_a_worker_that_does_not_see_the_files_says_so(tmp_path: Path) -> None:
    (tmp_path / engine.RUN).write_text("another run")
    error = answer_of(engine._Worker(tmp_path, tmp_path, "this run", open_counting), 1)
    assert isinstance(error, MissingArtifact)
    assert f"does not see {tmp_path}" in str(error) and "operation.engine: local" in str(error)


def test_ray_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingLibrary, match=r"operation\.engine: ray needs ray, .*'autolora\[ray\]'"):
        list(engine.run(counting(tmp_path, 1), "ray"))


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(MismatchError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 .*RAY_ADDRESS"):
        list(engine.run(counting(tmp_path, 1), "ray"))


RUN_ON_RAY = """
import sys
from pathlib import Path
from tests.flows.test_engine import counting
from flows import engine
print([row["below"] for _, rows in engine.run(counting(Path(sys.argv[1]), 1), "ray") for row in rows])
"""


@pytest.mark.slow
def test_tokens_of_ray(tmp_path: Path) -> None:
    """Ray here leaves no token in the home folder; a cluster that needs one says so, and works with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def ran(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=environment | variables, text=True, capture_output=True, check=False
        )

    def run_on_ray(**variables: str) -> subprocess.CompletedProcess[str]:
        return ran(sys.executable, "-c", RUN_ON_RAY, str(tmp_path), **variables)

    assert run_on_ray().stdout == "[0]\n"
    assert not (tmp_path / ".ray").exists()
    ran("ray", "get-auth-token", "--generate")
    port = free_port()
    head = ("--head", "--include-dashboard", "false", "--num-cpus", "1", "--port", str(port), "--block")
    command = ["ray", "start", *head, "--object-store-memory", str(OBJECT_STORE_BYTES)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(port)
        address = f"127.0.0.1:{port}"
        elsewhere = {"HOME": str(tmp_path / "elsewhere"), "RAY_AUTH_MODE": "token"}
        for variables in ({}, elsewhere):
            refused = run_on_ray(RAY_ADDRESS=address, **variables)
            assert f"{address}: the Ray cluster wants a token" in refused.stderr
        assert run_on_ray(RAY_ADDRESS=address, RAY_AUTH_MODE="token").stdout == "[0]\n"
    finally:
        kill_tree(process.pid)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes."""
    with cluster(2) as started:
        yield started


@pytest.mark.slow
def test_errors_of_a_batch_on_ray_come_after_its_rows(tmp_path: Path, nodes: Any) -> None:
    rows = []
    with pytest.raises(CaptionError, match="no more than 3"):
        for _, of_batch in engine.run(counting(tmp_path, 4), "ray"):
            rows += of_batch
    assert [row["below"] for row in rows] == [0, 1, 2]
    assert not [*engine.leftovers(tmp_path, "counting")]


@pytest.mark.slow
def test_work_on_a_gpu_needs_a_node_with_one(tmp_path: Path, nodes: Any) -> None:
    job = Job(root=tmp_path, stage="counting", batches=[1], open_work=open_counting, on_gpu=True)
    with pytest.raises(MismatchError, match="has no GPU"):
        list(engine.run(job, "ray"))


@pytest.mark.slow
@pytest.mark.long(full=20, sample=3)
def test_a_killed_node_costs_nothing_but_its_batch(
    tmp_path: Path, nodes: Any, images: Path, digest: str, seed: int
) -> None:
    while len(nodes.worker_nodes) < 2:
        nodes.add_node(**NODE)
    root = tmp_path / "root"
    shutil.copytree(images, root)
    moment, stopped = random.Random(seed).randrange(NUM_IMAGES), threading.Event()

    def kill() -> None:
        wait_for(lambda: asked(root) >= moment, stopped)
        kill_node(nodes)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        caption_all(root, "ray")
    finally:
        stopped.set()
        killer.join()
    assert check_complete(root) == digest
    assert asked(root) <= NUM_IMAGES + PARAMS.batch  # the killed batch
    assert not (root / "cache/shards/captions").exists()


@pytest.mark.slow
@pytest.mark.long(full=20, sample=1)
def test_a_killed_run_continues_from_its_shards(
    tmp_path: Path, nodes: Any, images: Path, digest: str, seed: int
) -> None:
    root = tmp_path / "root"
    shutil.copytree(images, root)
    moment = random.Random(seed).randrange(1, NUM_IMAGES)
    assert killing.kill(caption_all, root, "ray", until=lambda: asked(root) >= moment)
    caption_all(root, "ray")
    assert asked(root) <= NUM_IMAGES + 2 * PARAMS.batch  # the killed batches
    assert check_complete(root) == digest
    assert read_digest(root, "captions")["rows"] == NUM_CAPTIONS
