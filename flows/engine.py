"""Where the batches of a stage are worked on: in this process, or by the workers of a Ray cluster (operation.engine).

Under both engines the same function returns the rows of a batch, and the caller, the only writer, stores them in the
stage's own tables. A worker of Ray writes the rows of its batch to a **shard**, a Parquet file that no process sees
before it is complete and that goes away once its rows are stored. So a lost worker costs its batch, a batch whose shard
exists is not worked on again, and a killed run leaves its shards for the next one (`leftovers`).
Descriptions of batches and errors are pickled between this process and its own workers, as Ray does with all it sends.
Ray gets its cluster from RAY_ADDRESS; without it, Ray starts on this machine, with a token of its own: Ray would write
one to ~/.ray/auth_token, and each `ray start --head` after that would demand it of all that connect.
"""

import hashlib
import logging
import os
import pickle
import secrets
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from autolora.errors import AutoLoraError, MismatchError, MissingArtifact, MissingLibrary
from autolora.storage.files import Row, raising_disk_full, replacing, write_atomic

B = TypeVar("B")
Work = Callable[[B], Iterable[Row]]
"""returns the rows of a batch; rows before an error count"""
ADDRESS, SETTING = "RAY_ADDRESS", "operation.engine: ray"
BLOCKS_PER_WORKER = 32
"""Ray schedules a block of batches as one task, which costs it about 12 ms; so many level out unequal batches"""
OBJECT_STORE_BYTES = 200_000_000
"""of a Ray that starts here; only batches' descriptions go through it"""
CONNECT_S = 10.0
REFUSED = (
    "the Ray cluster wants a token, and this process has none or another one: set RAY_AUTH_MODE=token, and copy "
    "~/.ray/auth_token from the machine where `ray start --head` ran"
)
RUN = "run"
"""file beside the shards that names the run, by which a worker sees that it shares the folder"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(Generic[B]):
    """The batches of one stage, and how a worker opens the function that maps a batch to rows."""

    root: Path
    """of the repository; at the same path on every node"""
    stage: str
    batches: Sequence[B]
    """must be picklable"""
    open_work: Callable[[], Work[B]]
    """called once per worker, in the root; must be picklable, so no closure"""
    opened: Work[B] | None = None
    """the same function, if this process has opened it already"""
    on_gpu: bool = False
    """whether a worker needs a GPU for itself"""


def run(job: Job[B], engine: str, threads: int = 1) -> Iterator[tuple[B, list[Row]]]:
    """Yield each batch with its rows, as they are finished; raise the error of a batch after its rows.

    Store the rows before asking for the next batch. engine: `operation.engine`. threads: batches at the same time in
    this process; 1 is this thread. With Ray, raises MissingLibrary if it is not installed, MissingArtifact if a node
    does not see the root, MismatchError if the cluster does not answer or has no GPU for work that needs one.
    """
    if job.batches:
        yield from _run_on_ray(job) if engine == "ray" else _run_here(job, threads)


def leftovers(root: Path, stage: str) -> Iterator[list[Row]]:
    """Yield the rows of each shard that a killed run has left; it is removed when the next one is asked for."""
    for path in sorted(_shards(root, stage).glob("*.parquet")):
        yield _read(path)
        path.unlink()


def _run_here(job: Job[B], threads: int) -> Iterator[tuple[B, list[Row]]]:
    work = job.opened or job.open_work()
    if threads > 1:
        yield from _run_in_threads(job.batches, work, threads)
        return
    for batch in job.batches:
        rows, error = _collect(work, batch)
        yield batch, rows
        if error:
            raise error


def _run_in_threads(batches: Sequence[B], work: Work[B], threads: int) -> Iterator[tuple[B, list[Row]]]:
    pool, errors = ThreadPoolExecutor(threads), []
    try:
        # a copy of the context, so that log lines reach the Prefect run
        futures = {pool.submit(copy_context().run, _collect, work, batch): batch for batch in batches}
        for future in as_completed(futures):
            batch = futures.pop(future)
            if future.cancelled():
                continue
            rows, error = future.result()
            yield batch, rows
            if error:  # batches that run are awaited, so that the work on them is not lost
                errors.append(error)
                for waiting in futures:
                    waiting.cancel()
    finally:
        pool.shutdown(cancel_futures=True)
    if errors:
        raise errors[0]


def _run_on_ray(job: Job[B]) -> Iterator[tuple[B, list[Row]]]:
    folder, token = _shards(job.root, job.stage), uuid.uuid4().hex
    batches = {
        hashlib.sha256(data := pickle.dumps(batch)).hexdigest(): (batch, data) for batch in job.batches
    }
    write_atomic(folder / RUN, token)
    with _cluster() as ray:
        size = _size(ray, job.on_gpu)
        rows = [{"name": name, "batch": data} for name, (_, data) in batches.items()]
        done = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS_PER_WORKER * size)).map(
            _Worker,
            fn_constructor_args=(job.root, folder, token, job.open_work),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
            num_gpus=1 if job.on_gpu else None,
        )
        for row in done.iter_rows():
            batch, _ = batches.pop(row["name"])
            error = pickle.loads(row["error"])
            path = _shard(folder, row["name"], error)
            yield batch, [] if error and not path.exists() else _read(path)
            path.unlink(missing_ok=True)
            if error:
                raise error
    if batches:
        raise MismatchError(
            f"Ray has not returned {len(batches)} batches of the stage {job.stage}: run it again"
        )
    shutil.rmtree(folder)


class _Worker:
    """An actor of Ray: writes the shards of batches, one after the other."""

    def __init__(self, root: Path, folder: Path, token: str, open_work: Callable[[], Work[Any]]) -> None:
        """Initialize; nothing is opened, because Ray starts an actor again and again whose start fails."""
        self._root, self._folder, self._token, self._open_work = root, folder, token, open_work
        self._work: Work[Any] | None = None

    def __call__(self, row: Row) -> Row:
        """Write the shard of one batch, unless it exists; return its name and the error, pickled."""
        error = None
        try:
            with raising_disk_full(self._folder):
                work = self._work = self._work or self._open()
                if not _shard(self._folder, row["name"]).exists():
                    rows, error = _collect(work, pickle.loads(row["batch"]))
                    _write(_shard(self._folder, row["name"], error), rows)
        except AutoLoraError as caught:
            error = caught
        return {"name": row["name"], "error": pickle.dumps(error)}

    def _open(self) -> Work[Any]:
        """Open the work in the root. Raises MissingArtifact if this node does not share the root with the others."""
        run = self._folder / RUN
        if not run.exists() or run.read_text() != self._token:
            raise MissingArtifact(
                f"the node {socket.gethostname()} of the Ray cluster does not see {self._root}, where the files of "
                f"this run are: {SETTING} needs this folder at the same path on every node, as on a shared file "
                "system; mount it there, or set operation.engine: local"
            )
        os.chdir(self._root)  # paths of models are relative
        return self._open_work()


def _collect(work: Work[B], batch: B) -> tuple[list[Row], AutoLoraError | None]:
    """Return the rows of a batch, and the error that ended it, if any."""
    rows: list[Row] = []
    try:
        for row in work(batch):
            rows.append(row)  # not extend: those before an error stay
    except AutoLoraError as error:
        return rows, error
    return rows, None


@contextmanager
def _cluster() -> Iterator[Any]:
    """Yield Ray, connected to the cluster of RAY_ADDRESS or to one that is started here, and disconnect."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of actors that restart
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        message = f"{SETTING} needs {error.name}, which is not installed here: pip install 'autolora[ray]'"
        raise MissingLibrary(message) from error
    address = os.environ.get(ADDRESS)
    here = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    if not address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    try:
        _check_answers(address)
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **here)
    except ray.exceptions.AuthenticationError as error:
        raise MismatchError(f"{address or 'this machine'}: {REFUSED}") from error
    except (OSError, RuntimeError, ValueError) as error:
        if "AuthenticationError" in f"{error.__cause__}":
            raise MismatchError(f"{address}: {REFUSED}") from error
        raise MismatchError(
            f"no Ray cluster answers at {address or 'this machine'} ({error}): start one (`ray start --head`), or "
            f"correct {ADDRESS}, or set operation.engine: local"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Raise OSError if nothing listens at HOST:PORT, for which Ray would wait for eight minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.rpartition("/")[2], int(port)), CONNECT_S).close()


def _size(ray: Any, on_gpu: bool) -> int:
    """Return how many workers the cluster has room for."""
    kind = "GPU" if on_gpu else "CPU"
    if not (size := int(ray.cluster_resources().get(kind, 0))):
        raise MismatchError(
            f"the Ray cluster has no {kind}, and each worker needs one: start nodes with some, or correct "
            "models.device or operation.engine in params.yaml"
        )
    return size


def _shards(root: Path, stage: str) -> Path:
    return root / "cache" / "shards" / stage


def _shard(folder: Path, name: str, error: AutoLoraError | None = None) -> Path:
    """Return the path of a shard; that of a batch with an error has another name, so that it is worked on again."""
    return folder / f"{name}{'-incomplete' if error else ''}.parquet"


def _write(path: Path, rows: Sequence[Row]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with replacing(path) as temporary:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), temporary)


def _read(path: Path) -> list[Row]:
    """Return the rows of a shard; a column that a row did not have is None."""
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows
