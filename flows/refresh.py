"""The night: look at the hubs, run what follows, say what changed, release the index.

`dvc repro` decides what runs. A failed night leaves the served index as it was.
"""

import os
import subprocess
import sys
from collections import deque
from datetime import UTC, datetime

import prefect
from prefect.artifacts import create_markdown_artifact

from autolora.changes import Snapshot, compare, snapshot, to_markdown
from autolora.errors import AutoLoraError
from autolora.incremental import read_digest
from autolora.report import page
from autolora.retrieval import release
from flows.stage import ROOT, params, run, task

TAIL_LINES = 40
COMMITTED = ("data/catalog.jsonl", "data/training.jsonl", "digests", "metrics", "dvc.lock")


@task()
def remember() -> Snapshot:
    """Remember catalog and digests before the night."""
    return snapshot(ROOT)


@task()
def crawl() -> None:
    """Look at the hubs: the only stage that does, and only when forced."""
    _dvc("repro", "--force", "--single-item", "crawl")


@task()
def reproduce() -> None:
    """Run whatever depends on what the crawl found."""
    _dvc("repro")


@task()
def promote() -> str:
    """Release the index that the night made and return its digest."""
    digest: str = read_digest(ROOT, "index")["sha256"]
    release(ROOT, digest)
    return digest


@task()
def assemble() -> None:
    """Put the report together from what evaluation and experiments left."""
    page.assemble(ROOT)


@task()
def commit(summary: str) -> None:
    """Commit the night to git."""
    present = [path for path in COMMITTED if (ROOT / path).exists()]
    subprocess.run(["git", "add", *present], cwd=ROOT, check=True)
    staged = subprocess.run(["git", "diff", "--cached", "--quiet"], cwd=ROOT)
    if staged.returncode:
        subprocess.run(
            ["git", "commit", "-q", "-m", f"Refresh {datetime.now(UTC):%Y-%m-%d}\n\n{summary}"], cwd=ROOT
        )


@prefect.flow(name="refresh")
async def refresh() -> None:
    """Refresh the pool and everything that is made of it."""
    before = remember()
    try:
        crawl()
        reproduce()
    except AutoLoraError as error:
        await report(f"The night failed; the served index is as it was.\n\n```\n{error}\n```")
        raise
    digest = promote()
    assemble()
    summary = to_markdown(compare(before, snapshot(ROOT)))
    await report(f"{summary}\n\nServed index: `{digest}`")
    if params().refresh.commit:
        commit(summary)


async def report(markdown: str) -> None:
    """Say it in the terminal and in a Prefect artifact."""
    print(markdown)
    await create_markdown_artifact(markdown, key="refresh", description="what the night changed")


def _dvc(*arguments: str) -> None:
    """Run DVC with this interpreter; its output is passed on, and its tail is the error when it fails."""
    beside = os.path.dirname(sys.executable)
    environment = os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        tail.append(line)
    if process.wait():
        raise AutoLoraError(f"`dvc {' '.join(arguments)}` failed; its last lines:\n{''.join(tail)}")


if __name__ == "__main__":
    run(refresh)
