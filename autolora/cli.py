"""The command line: a thin skin over the library, and the only reader of argv."""

import functools
import gc
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autolora.errors import AutoLoraError, MissingArtifact
from autolora.params import Params, load
from autolora.storage.incremental import read_digest

app = typer.Typer(
    help="Find FLUX LoRAs by what is in their weights, and generate with them.", no_args_is_help=True
)
P = ParamSpec("P")


class Method(Enum):
    """How adapters are fused."""

    GATED = "gated"
    DIRECT = "direct"


Prompt = Annotated[str, typer.Argument(help="What the picture should show.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rev = Annotated[str | None, typer.Option("--rev", help="Answer as of a git commit or tag.")]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a command whose own errors end as one clear message and exit code 1, and a closed pipe as its signal."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        os.environ.setdefault("LANCE_LOG", "error")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve on a busy machine
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except AutoLoraError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except BrokenPipeError:  # nobody reads on (`| head`): end as other commands do
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)

    return app.command()(wrapped)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause garbage collection: importing torch makes a million objects, and all of them stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@command
def search(
    prompt: Prompt,
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="How many adapters; default from params.yaml.")
    ] = None,
    rev: Rev = None,
    as_json: Json = False,
) -> None:
    """Find the adapters that fit PROMPT."""
    with _collector_paused():
        from autolora.retrieval import open_retriever

        root, params = _repository()
        hits = open_retriever(root, rev=rev).search(prompt, k=k or params.retrieval.k)
    if as_json:
        print(_as_json([asdict(hit) for hit in hits]))
        return
    if not hits:
        print("the index is empty: no adapter of the catalog was accepted")
        return
    table = Table(
        "score", "adapter", "license", "trigger words", "sha256", title=f"index {hits[0].index[:12]}"
    )
    for column in table.columns:
        column.overflow = "fold"
    for hit in hits:
        words = ", ".join(hit.trigger_words) or "–"
        row = (f"{hit.score:.3f}", hit.id, hit.license or "unknown", words, hit.sha256[:8])
        table.add_row(*map(escape, row))
    _draw(table)


@command
def generate(
    prompt: Prompt,
    k: Annotated[
        int | None, typer.Option("-k", min=0, help="How many adapters; 0 draws with the base alone.")
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How adapters are fused; default from params.yaml.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", help="PNG to write; default images/PROMPT-SEED.png.")
    ] = None,
    rev: Rev = None,
) -> None:
    """Draw PROMPT with the adapters that fit it; the PNG says which."""
    from autolora import generation
    from autolora.retrieval import open_retriever

    output = output.absolute() if output else None
    if output and (output.is_dir() or output.suffix.lower() != ".png"):
        raise typer.BadParameter(f"{output} must be a file that ends in .png", param_hint="-o")
    if rev and k == 0:
        raise typer.BadParameter("-k 0 asks no index, so --rev has no effect", param_hint="--rev")
    root, params = _repository()
    count = params.retrieval.k if k is None else k
    hits = open_retriever(root, rev=rev).search(prompt, k=count) if count else []
    picture = generation.generate(
        generation.Generator(root, params.models, params.pool),
        prompt,
        hits,
        method=method.value if method else params.generation.method,
        seed=seed,
        params=params.generation,
    )
    path = output or root / "images" / f"{_slug(prompt)}-{seed}.png"
    generation.save(picture, path)
    print(path)
    for hit in hits:
        words = f"; trigger words: {', '.join(hit.trigger_words)}" if hit.trigger_words else ""
        print(f"  {hit.score:.3f} {hit.hub}:{hit.id} ({hit.license or 'license unknown'}{words})")


@command
def show(adapter: str, as_json: Json = False) -> None:
    """Tell everything known about ADAPTER: a sha256 (6 digits or more) or a hub id (author/name)."""
    from autolora.report.lookup import facts, lookup

    root, params = _repository()
    known = facts(lookup(root, adapter, params.crawl))
    if as_json:
        print(_as_json(known))
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in known.items():
        table.add_row(f"[bold]{name}", escape(str(value)))
    _draw(table)


@command
def versions(as_json: Json = False) -> None:
    """List the commits in which the index changed, newest first, and which one is served."""
    from autolora.index.served import served
    from autolora.storage.git import history, read_committed

    root, _ = _repository()
    path = "digests/index.json"
    released = served(root)
    rows = []
    for change in history(root, path):
        index = json.loads(read_committed(root, change.sha, path))
        rows.append(asdict(change) | {"index": index["sha256"], "rows": index["rows"]})
    if as_json:
        print(_as_json({"served": released, "commits": rows}))
        return
    table = Table("commit", "date", "adapters", "index", "subject")
    for row in rows:
        mark = " (served)" if row["index"] == released else ""
        table.add_row(
            row["sha"][:10],
            row["date"][:10],
            str(row["rows"]),
            row["index"][:12] + mark,
            escape(row["subject"]),
        )
    _draw(table)
    if released is None:
        print("nothing is released yet: searches read the working index")
    elif released not in {row["index"] for row in rows}:
        print(f"served: {released[:12]}, which no commit holds yet")


@command
def release(
    rev: Annotated[
        str | None, typer.Option("--rev", help="Git commit or tag; default the working index.")
    ] = None,
) -> None:
    """Serve an index: the working one, or that of a revision (a rollback)."""
    from autolora.index import served as index_served

    root, _ = _repository()
    digest = index_served.open_index(root, rev=rev).digest if rev else read_digest(root, "index")["sha256"]
    index_served.release(root, digest)
    print(f"serving index {digest}")


@command
def report() -> None:
    """Assemble reports/index.html from what evaluation and experiments left."""
    from autolora.report.page import assemble

    root, _ = _repository()
    print(assemble(root))


def main() -> None:
    """Run the command line."""
    app()


def _repository() -> tuple[Path, Params]:
    """Go to the root of the repository around the working directory; return it and its params.

    Paths in params.yaml are relative to it.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").exists() and (folder / "dvc.yaml").exists():
            os.chdir(folder)
            return folder, load(folder / "params.yaml")
    raise MissingArtifact(
        f"no params.yaml and dvc.yaml in {here} or above: run inside an AutoLoRA repository"
    )


def _draw(table: Table) -> None:
    """Print a table; where rich prints it, a closed pipe is an error without a word."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")


def _slug(prompt: str) -> str:
    """Return a file name of a prompt: its first words, letters and digits only."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return "-".join(words)[:60] or "picture"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
