"""Any sequence of changes, with killed runs, ends in the index that is built from nothing."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.index import store as index
from autolora.index.served import open_index
from autolora.index.store import content_digest
from autolora.search.retriever import Retriever
from autolora.storage.incremental import read_digest
from tests.support import killing
from tests.support.changing_repo import ChangingRepository, StageRun, load_text_encoder, rebuild, run_stages
from tests.support.synthetic_repo import SETTINGS, file_states, tiny_text_encoder

TOLERANCE = 1e-5
MAX_STEPS, MAX_CHANGES = 5, 3
KILLED_SHARE, BLIND_SHARE, COMPLETED_SHARE = 0.8, 0.4, 0.6
"""shares: of runs that are killed; of kills at a random time, not once an output is being written; of killed runs that
are completed before the next change"""
OUTPUTS = ("data/dataset", "data/encoder", "data/index", "digests")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny text encoder."""
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_text_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory, pipeline: Path) -> float:
    """Return the duration of a run of the stages that trains the encoder and embeds all adapters."""
    repository = ChangingRepository(random.Random(0))
    runs = [repository.write(tmp_path_factory.mktemp(name), pipeline) for name in ("cold", "warm")]
    return [killing.run(run_stages, run) for run in runs][-1]


@pytest.mark.slow
@pytest.mark.long(full=200, sample=3)
def test_any_sequence_of_changes_and_kills_gives_the_index_of_a_rebuild(
    tmp_path: Path, pipeline: Path, seconds: float, seed: int
) -> None:
    rng, root = random.Random(seed), tmp_path / "root"
    repository = ChangingRepository(rng)
    complete(repository, repository.write(root, pipeline))
    for _ in range(rng.randint(2, MAX_STEPS)):
        for _ in range(rng.randint(1, MAX_CHANGES)):
            repository.change()
        run_with_kills(repository, repository.write(root, pipeline), seconds)
    last = repository.write(root, pipeline)
    complete(repository, last)
    rebuild(last, repository, tmp_path / "rebuilt")
    assert_same_index(root, tmp_path / "rebuilt", pipeline)
    before = file_states(root / "data")
    run_stages(replace(last, encoder=None))
    assert file_states(root / "data") == before


def run_with_kills(repository: ChangingRepository, run: StageRun, seconds: float) -> None:
    """Run the stages and kill them, or complete the run, or first one and then the other."""
    rng = repository.rng
    is_killed = rng.random() < KILLED_SHARE
    if is_killed and rng.random() < BLIND_SHARE:
        killing.kill(run_stages, run, after_s=rng.uniform(0, seconds))
    elif is_killed:
        killing.kill(run_stages, run, until=is_written(run.root / rng.choice(OUTPUTS)))
    if not is_killed or rng.random() < COMPLETED_SHARE:
        complete(repository, run)


def is_written(folder: Path) -> Callable[[], bool]:
    """Return a function that returns whether a file has been created in a folder since now."""

    def times() -> set[tuple[Path, int]]:
        folders = [path for path in (folder, *folder.rglob("*")) if path.is_dir()]
        return {(path, path.stat().st_mtime_ns) for path in folders}

    def is_changed() -> bool:
        try:
            return times() != before
        except FileNotFoundError:  # a folder was removed or renamed meanwhile
            return True

    before = times()
    return is_changed


def complete(repository: ChangingRepository, run: StageRun) -> None:
    """Run the stages to their end."""
    killing.run(run_stages, run)
    repository.needs_encoder = False


def assert_same_index(root: Path, rebuilt: Path, pipeline: Path) -> None:
    """Check digests, vectors, and the hits of a search."""
    for stage in ("dataset", "index"):
        assert read_digest(root, stage) == read_digest(rebuilt, stage)
    (names, vectors), (expected_names, expected) = (index.read_vectors(path) for path in (root, rebuilt))
    assert names == expected_names
    assert np.abs(vectors - expected).max() < TOLERANCE
    hits, expected_hits = (
        Retriever(open_index(path), load_text_encoder(pipeline), SETTINGS).search("a neon drawing", k=99)
        for path in (root, rebuilt)
    )
    assert hits == expected_hits and {hit.index for hit in hits} == {content_digest(rebuilt)}
