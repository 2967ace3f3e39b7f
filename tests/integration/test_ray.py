"""The stages on Ray, with two and four nodes: the rows of `local`, vectors and bytes included."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora.storage.hashes import hash_file
from playground.repository import ROOT, change_params
from tests.support import small_root
from tests.support.ray_cluster import cluster

STAGES = ("pool", "captions", "dataset", "index")
FORMER = "0" * 16
"""a recipe that no code has"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool whose rows are of a former recipe, with captions and vectors of former instructions."""
    root = tmp_path_factory.mktemp("project")
    models = small_root.base(root)
    small_root.build(root, models)
    shutil.copy(ROOT / "params.yaml", root)
    changes: dict[str, dict[str, Any]] = {
        "models": {"pipeline": models.pipeline, "vlm": str(ROOT / "playground/models/vlm"), "threads": 1},
        "pool": {"sketch_size": small_root.SKETCH_SIZE},
        "captions": {"batch": 4},
        "encoder": {"language": "clip"},
    }
    change_params(root / "params.yaml", changes)
    shutil.copytree(ROOT / "digests/code", root / "digests/code")
    table = root / "data/pool/adapters.jsonl"
    rows = [json.loads(line) | {"recipe": FORMER} for line in table.read_text().splitlines()]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(root / "data/index")
    return root


def outputs(project: Path, root: Path, api: str, engine: str) -> dict[str, Any]:
    """Run the stages in a copy of the project; return digests and hashes of what they have written."""
    shutil.copytree(project, root)
    change_params(root / "params.yaml", {"operation": {"engine": engine}})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PREFECT_API_URL": api}
    for stage in STAGES:
        command = [sys.executable, "-m", f"flows.{stage}"]
        done = subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    tables = [
        *root.glob("data/pool/*.jsonl"),
        *root.glob("data/pool/sketches/*"),
        *root.glob("data/captions/*"),
    ]
    hashes = {str(path.relative_to(root)): hash_file(path) for path in tables}
    assert (root / "cache/shards").exists() == (engine == "ray")
    assert not [*root.glob("cache/shards/*")]  # all are stored
    return hashes | {stage: json.loads((root / f"digests/{stage}.json").read_text()) for stage in STAGES}


@pytest.fixture(scope="module")
def local(project: Path, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> dict[str, Any]:
    """The outputs of the engine `local`."""
    return outputs(project, tmp_path_factory.mktemp("local") / "root", prefect_api, "local")


@pytest.fixture(params=[2, 4], ids="{} nodes".format)
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose workers find the code, as they do in the folder of a project."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with cluster(request.param) as started:
        yield started


def test_ray_gives_the_rows_of_local(
    tmp_path: Path, nodes: Any, project: Path, local: dict[str, Any], prefect_api: str
) -> None:
    assert local["index"]["rows"] == 12 and local["captions"]["rows"] == 72
    assert outputs(project, tmp_path / "root", prefect_api, "ray") == local
