"""Reading of one's own files where they are: each new file once, in several processes if there are many."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import repeat
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import torch

from autolora.catalog import failed_items
from autolora.errors import ReadingFailed, RefusedFile
from autolora.pool import store as pool
from autolora.pool.images import check_image
from autolora.pool.ingest import read_adapter
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from autolora.progress import track
from autolora.records import Adapter, PooledRendering
from autolora.storage.files import Row, raising_reading_failed

FILES_PER_PROCESS = 100
"""new files for which a further process is worth its start, which takes about 2 s"""
ROWS_PER_WRITE = 32


class Failure(NamedTuple):
    """A file that could not be read."""

    message: str


def read_files(root: Path, sync: PoolSync, recipe: ReadRecipe) -> list[str]:
    """Read the new files that the pool links to, append their rows, and find near-duplicates.

    Returns one message per file that cannot be read; the next run tries it again. If the run is interrupted, the rows
    of the files that were read are kept. Raises ReadingFailed if too many of all files cannot be read.
    """
    files = [(sources.primary.key, str(sources.primary.sha256)) for sources in sync.missing_adapters()]
    problems: list[str] = []
    rows: list[Row] = []
    try:
        for result in track(_read_all(root, files, recipe), "index", len(files), "files read"):
            if isinstance(result, Failure):
                problems.append(result.message)
            else:
                rows.append(result.to_row())
            if len(rows) >= ROWS_PER_WRITE:
                sync.tables.append("adapters", rows)
                rows = []
    finally:
        sync.tables.append("adapters", rows)
    sync.compare_new_adapters()
    if failed_items.are_too_many(len(problems), len(problems) + len(sync.rows())):
        raise ReadingFailed(
            f"{len(problems)} files cannot be read, more than half of all, so the index was not changed: check that "
            f"you may read them, and report an unexpected error with its traceback (the first: {problems[0]})"
        )
    return problems


def read_images(root: Path, sync: PoolSync, recipe: ReadRecipe) -> tuple[int, list[str]]:
    """Validate the new images of accepted files, and append their rows.

    Returns the number of images that are not valid, and one message per image that cannot be read.
    """
    refused, problems = 0, []
    images = sync.missing_renderings()
    for image in track(images, "index", len(images), "images checked"):
        path = pool.rendering_path(root, image.key).resolve()
        try:
            with raising_reading_failed(str(path)):
                width, height = check_image(path, recipe.bounds)
            row = PooledRendering(key=image.key, sha256=image.key, width=width, height=height)
            sync.tables.append("renderings", [asdict(row)])
        except RefusedFile as error:
            refused += 1
            sync.tables.append("refused", [{"key": image.key, "code": error.code, "reason": str(error)}])
        except ReadingFailed as error:
            problems.append(str(error))
    return refused, problems


def _read_all(
    root: Path, files: Sequence[tuple[str, str]], recipe: ReadRecipe
) -> Iterator[Adapter | Failure]:
    """Yield the row of each file, given by its key and sha256, in any order."""
    workers = min(os.cpu_count() or 1, 1 + len(files) // FILES_PER_PROCESS)
    if workers == 1:
        yield from map(_read, repeat(root), files, repeat(recipe))
        return
    executor = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        with _interrupts_blocked():  # the processes, which start here, inherit it: Ctrl-C is for the main one
            rows = executor.map(_read, repeat(root), files, repeat(recipe), chunksize=4)
        yield from rows
    except BaseException:  # also if the caller stops: the processes may have hardly started, which takes long
        for process in active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay SIGINT until the block ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start_worker() -> None:
    """Let the process end if the main one is killed, and use one thread for the work."""
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "only a child process is a worker"
    parent.join()
    os._exit(1)


def _read(root: Path, file: tuple[str, str], recipe: ReadRecipe) -> Adapter | Failure:
    """Read a file that the pool links to, and store its sketch if it is accepted."""
    key, sha256 = file
    path = pool.weights_path(root, sha256).resolve()
    try:
        with raising_reading_failed(str(path)):
            row, sketch = read_adapter(path, key, sha256, recipe)
    except ReadingFailed as error:
        return Failure(str(error))
    if sketch:
        pool.save_sketch(root, sha256, sketch)
    return row
