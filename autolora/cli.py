"""The command line. Each command calls the library and prints the result; no other module of autolora reads argv."""

import functools
import json
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autolora.errors import AutoLoraError, MissingArtifact
from autolora.params import Params, load

if TYPE_CHECKING:
    from autolora.index.copies import Index
    from autolora.params import RetrievalParams
    from autolora.reasons import Reasons
    from autolora.records import Hit
    from autolora.report.caption_agreement import CaptionAgreement
    from autolora.report.lookup import AdapterRecord
    from autolora.retrieval import Retriever

app = typer.Typer(
    help="Find FLUX LoRAs by the content of their weights, and generate images with them.",
    no_args_is_help=True,
)
P = ParamSpec("P")


class Method(Enum):
    """The methods of fusion."""

    GATED = "gated"
    DIRECT = "direct"


Prompt = Annotated[str, typer.Argument(help="What the image should show.")]
PublishedFile = Annotated[Path, typer.Argument(help="File in the layout of the authors' code.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rev = Annotated[str | None, typer.Option("--rev", help="Use the index of this git commit, branch or tag.")]
Licenses = Annotated[
    list[str] | None, typer.Option("--license", help="License, as the hub writes it; repeat for several.")
]
MaySell = Annotated[bool, typer.Option("--may-sell", help="Commercial use is permitted.")]
Derivatives = Annotated[bool, typer.Option("--derivatives", help="Changed versions are permitted.")]
Nsfw = Annotated[
    bool | None, typer.Option("--nsfw/--no-nsfw", help="Is, or is not, marked not safe for work.")
]
Person = Annotated[
    bool | None, typer.Option("--person/--no-person", help="Is, or is not, reported to show a real person.")
]
BaseModels = Annotated[
    list[str] | None, typer.Option("--base", help="Base model, e.g. flux.1-dev; repeat for several.")
]
MaxRank = Annotated[int | None, typer.Option(min=1, help="Largest rank of the adapter.")]
MaxMb = Annotated[float | None, typer.Option(min=0, help="Largest size of the file, in 10^6 bytes.")]
Hubs = Annotated[list[str] | None, typer.Option("--hub", help="Hub; repeat for several.")]
Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First seen on this day or later (YYYY-MM-DD).")
]
Families = Annotated[
    list[str] | None, typer.Option("--family", help="Family, named by a sha256; repeat for several.")
]
Where = Annotated[str | None, typer.Option(help='SQL condition on columns, e.g. "rank_max < 32".')]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a function as a command.

    An AutoLoraError is printed as one message with exit code 1; a closed pipe ends the process with SIGPIPE.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        os.environ.setdefault("LANCE_LOG", "error")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy waiting is slow on shared cores
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except AutoLoraError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except BrokenPipeError:  # the reader has exited (`| head`): end as other commands do
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)

    return app.command()(wrapped)


@command
def search(
    prompt: Prompt,
    k: Annotated[
        str | None,
        typer.Option(
            "-k",
            metavar="K|auto",
            help="Number of adapters; default from params.yaml. auto: those that `generate` selects.",
        ),
    ] = None,
    licenses: Licenses = None,
    may_sell: MaySell = False,
    derivatives: Derivatives = False,
    nsfw: Nsfw = None,
    person: Person = None,
    bases: BaseModels = None,
    max_rank: MaxRank = None,
    max_mb: MaxMb = None,
    hubs: Hubs = None,
    since: Since = None,
    families: Families = None,
    where: Where = None,
    rev: Rev = None,
    with_reasons: Annotated[
        bool,
        typer.Option("--reasons", help="Print why each adapter was found; loads the encoder and sketches."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for the adapters that fit PROMPT and pass all filters; what a hub does not report passes no filter."""
    if not prompt.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="PROMPT")
    from autolora.index.conditions import any_of, conjunction, is_set
    from autolora.retrieval import open_retriever

    count = _parse_count(k)
    root, params = _enter_repository()
    where = conjunction(
        any_of("license", licenses),
        is_set("commercial", may_sell or None),
        is_set("derivatives", derivatives or None),
        is_set("nsfw", nsfw),
        is_set("person", person),
        any_of("base", bases),
        None if max_rank is None else f"rank_max <= {max_rank}",
        None if max_mb is None else f"size <= {max_mb * 1e6:.0f}",
        any_of("hub", hubs),
        None if since is None else f"first_seen >= DATE '{since:%Y-%m-%d}'",
        any_of("family", families),
        where,
    )
    retriever = open_retriever(root, rev=rev)
    number = params.retrieval.k if k is None else count
    hits = _choose(retriever, prompt, number, [], where, params.retrieval)
    reasons = _explain(root, params, retriever, prompt, hits, with_reasons) if as_json or with_reasons else []
    if as_json:
        rows = zip(hits, reasons, strict=True)
        print(_as_json([asdict(hit) | {"reasons": asdict(reason)} for hit, reason in rows]))
        return
    _print_hits(hits, retriever.index, where)
    if with_reasons:
        _print_reasons(hits, reasons)


@command
def generate(
    prompt: Prompt,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", min=0, help="Use the first K hits of a search, fitting or not; 0 uses the base model alone."
        ),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME[:STRENGTH]",
            help="Use this adapter, fitting or not, e.g. author/name:0.8; repeat for several.",
        ),
    ] = None,
    method: Annotated[Method | None, typer.Option(help="Method of fusion; default from params.yaml.")] = None,
    trigger_words: Annotated[
        bool | None,
        typer.Option(
            "--trigger-words/--no-trigger-words",
            help="Add the first trigger word of each adapter to PROMPT; default from params.yaml.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial noise.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", help="PNG file to write; default images/PROMPT-SEED.png.")
    ] = None,
    where: Where = None,
    rev: Rev = None,
) -> None:
    """Generate an image of PROMPT with the adapters that fit it; the PNG records how it was made.

    By default the adapters are selected: one for each thing that PROMPT asks for and an adapter fits, or none.
    """
    from autolora import generation
    from autolora.retrieval import open_retriever

    output = output.absolute() if output else None
    if output and (output.is_dir() or output.suffix.lower() != ".png"):
        raise typer.BadParameter(f"{output} must be a file that ends in .png", param_hint="-o")
    if output and not _is_writable(output.parent):
        raise typer.BadParameter(f"{output.parent} is not a folder that can be written", param_hint="-o")
    if not prompt.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="PROMPT")
    if rev and k == 0:
        raise typer.BadParameter("-k 0 searches no index, so --rev has no effect", param_hint="--rev")
    if adapters and (k is not None or where):
        raise typer.BadParameter(
            "give either adapters, or -k and --where to search for some", param_hint="--adapter"
        )
    named = [_parse_adapter(text) for text in adapters or ()]
    root, params = _enter_repository()
    hits = []
    if k != 0:
        hits = _choose(open_retriever(root, rev=rev), prompt, k, named, where, params.retrieval)
    settings = params.generation
    if trigger_words is not None:
        settings = replace(settings, trigger_words=trigger_words)
    image = generation.generate(
        generation.Generator(root, params.models, params.pool),
        prompt,
        hits,
        method=method.value if method else settings.method,
        seed=seed,
        params=settings,
    )
    path = output or root / "images" / f"{_slug(prompt)}-{seed}.png"
    generation.save_image(image, path)
    print(path)
    if image.provenance["text"] != prompt:
        print(f"  prompt with trigger words: {image.provenance['text']}")
    if k != 0 and not hits:
        print("  no adapter fits the prompt: the base model alone")
    for hit in hits:
        words = f"; trigger words: {', '.join(hit.trigger_words)}" if hit.trigger_words else ""
        relevance = "" if hit.relevance is None else f"relevance {hit.relevance:.2f}: "
        print(f"  {relevance}{hit.hub}:{hit.id} ({hit.license or 'license unknown'}{words})")


@command
def evaluate(
    prompts: Annotated[
        Path,
        typer.Option(
            "--prompts", help='File of lines {"prompt": "…", "adapters": ["sha256 or hub:id", …]} (JSON).'
        ),
    ],
    k: Annotated[
        list[int] | None,
        typer.Option("-k", min=1, help="k of recall at k; repeat it for several. Default from params.yaml."),
    ] = None,
    rev: Rev = None,
    as_json: Json = False,
) -> None:
    """Measure how well searches find the adapters that your own prompts should find."""
    prompts = prompts.absolute()
    from autolora import models
    from autolora.evaluation.prompts import measure_cases, read_cases
    from autolora.index.names import named_rows
    from autolora.index.served import open_index

    root, params = _enter_repository()
    index = open_index(root, rev)
    cases = read_cases(prompts, named_rows(index.rows.columns))
    text_encoder = models.load_text_encoder(params.models)
    ks = sorted(set(k or params.evaluation.ks))
    report = measure_cases(root, index, text_encoder, cases, ks, params.evaluation)
    if as_json:
        print(_as_json(report))
    else:
        _print_evaluation(report)


@command
def show(
    adapter: str,
    captions: Annotated[
        bool,
        typer.Option("--captions", help="Compare each caption with the weights and with the other images."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all that is known about ADAPTER: a sha256 (6 digits or more), a hub id (author/name), or a generated PNG."""
    if adapter.lower().endswith(".png"):
        if captions:
            raise typer.BadParameter("an image has no captions to compare", param_hint="--captions")
        _show_image(Path(adapter), as_json)
        return
    from autolora.report.lookup import facts, lookup

    root, params = _enter_repository()
    record = lookup(root, adapter, params.crawl)
    known = facts(record)
    agreements = _compare_captions(root, record) if captions else []
    if as_json:
        details = {"caption agreement": [asdict(row) for row in agreements]} if captions else {}
        print(_as_json(known | details))
        return
    _print_table(_two_columns(known))
    if captions:
        _print_table(_agreement_table(agreements))


@command
def versions(as_json: Json = False) -> None:
    """List the commits that changed the index and that --rev can read, newest first; mark the one that is served."""
    from autolora.index.served import served_digest
    from autolora.storage.git import history, read_committed

    root, _ = _enter_repository()
    path = "digests/index.json"
    released = served_digest(root)
    rows = []
    for change in history(root, path):
        index = json.loads(read_committed(root, change.sha, path))
        if "content" in index:  # an older version wrote none, so `--rev` cannot read it
            rows.append(asdict(change) | {"index": index["content"], "rows": index["rows"]})
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
    _print_table(table)
    if released is None:
        print("no index is released: searches read the working index")
    elif released not in {row["index"] for row in rows}:
        print(f"served: {released[:12]}, which no commit contains")


@command
def release(
    rev: Annotated[
        str | None, typer.Option("--rev", help="Git commit or tag of the index; default the working index.")
    ] = None,
) -> None:
    """Make searches use the working index, or the index of a revision (a rollback)."""
    from autolora.index import served as index_served
    from autolora.index.store import content_digest

    root, _ = _enter_repository()
    digest = index_served.open_index(root, rev=rev).digest if rev is not None else content_digest(root)
    index_served.release(root, digest)
    print(f"serving index {digest}")


@command
def verify(
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of random files to read; default all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Read the pool, the outputs of stages, DVC's cache and the index copies, and name what is damaged or missing."""
    from autolora.integrity.verification import verify as verify_all

    root, _ = _enter_repository()
    with _shown_progress() as progress:
        result = verify_all(root, sample=sample, seed=seed, progress=progress)
    if as_json:
        print(_as_json(result.to_row()))
    else:
        for finding in result.findings:
            print(f"{finding.problem:8} {finding.path}{f' ({finding.detail})' if finding.detail else ''}")
        for path in result.unversioned:
            print(f"{path} is not yet versioned: run `python -m flows.dvc`")
        print(
            f"{result.read} of {sum(result.files.values())} files read, {result.bytes / 1e6:.1f} MB in "
            f"{result.seconds:.1f} s ({result.mb_per_s:.0f} MB/s): {len(result.findings)} findings"
        )
    if result.findings:
        raise typer.Exit(1)


@command
def repair(
    apply: Annotated[
        bool, typer.Option("--apply", help="Restore the files; without it, only name their sources.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Allow trainings where no other source exists.")
    ] = False,
) -> None:
    """Restore what `autolora verify` finds, from DVC, git, the hubs or by recomputing. A dry run unless --apply."""
    from autolora.integrity.repair import plan_repair
    from autolora.integrity.repair import repair as repair_all

    root, params = _enter_repository()
    with _shown_progress() as progress:
        repairs = (repair_all if apply else plan_repair)(root, params, train=train, progress=progress)
    for row in repairs:
        source = f"from {row.source}" if row.source else "no source"
        print(
            f"{row.finding.problem:8} {row.finding.path}: {source}{f' ({row.remark})' if row.remark else ''}"
        )
    restorable = sum(row.source is not None for row in repairs)
    if apply:
        print(f"{restorable} of {len(repairs)} findings repaired and verified again")
    else:
        advice = ": run `autolora repair --apply`" if restorable else ""
        print(f"{restorable} of {len(repairs)} findings have a source{advice}")
    if restorable < len(repairs):
        raise typer.Exit(1)


@command
def report() -> None:
    """Write reports/index.html from the outputs of the stages."""
    from autolora.report.page import assemble

    root, _ = _enter_repository()
    print(assemble(root))


@command
def import_encoder(
    file: PublishedFile,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default data/encoder.")] = None,
) -> None:
    """Convert a published encoder (.safetensors) to this project's format."""
    from autolora import models
    from autolora.encoder import store
    from autolora.encoder.released_format import import_encoder
    from autolora.presets import ENCODER
    from autolora.storage.hashes import hash_file

    file, folder = file.absolute(), output.absolute() if output else None
    root, params = _enter_repository()
    models.set_threads(params.models)
    released = params.encoder.preset == "released"
    encoder = import_encoder(
        file,
        params.encoder.variant if released else ENCODER["released"],
        models.transformer_config(params.models),
        models.load_text_encoder(params.models),
    )
    store.save_encoder(folder or store.folder(root), encoder)
    if folder is None:
        store.write_encoder_digest(root, encoder, {"file": hash_file(file)}, adapters=0, texts=0)
        print("run `dvc commit --force encoder`, so that DVC keeps this encoder, and then `dvc repro index`")
    print(f"wrote {folder or store.folder(root)}")


@command
def import_gates(
    file: PublishedFile,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default data/fusion.")] = None,
) -> None:
    """Convert published gates (.safetensors) to this project's format."""
    from autolora import models
    from autolora.fusion import store
    from autolora.fusion.released_format import load_published
    from autolora.slots import slots
    from autolora.storage.hashes import hash_file

    file, folder = file.absolute(), output.absolute() if output else None
    root, params = _enter_repository()
    transformer = models.transformer_config(params.models)
    released = params.fusion.preset == "released"
    gates = load_published(file, transformer, params.fusion.variant if released else None)
    store.save(gates, slots(transformer), folder or store.folder(root))
    if folder is None:
        store.write_fusion_digest(root, gates, {"file": hash_file(file)}, adapters=0, left_out=0)
        print("run `dvc commit --force fusion`, so that DVC keeps these gates")
    print(f"wrote {folder or store.folder(root)}")


def main() -> None:
    """Run the command line."""
    app()


def _enter_repository() -> tuple[Path, Params]:
    """Change the working directory to the root of its repository, and return the root and its params.

    Paths in params.yaml are relative to the root. Raises MissingArtifact outside a repository.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").exists() and (folder / "dvc.yaml").exists():
            os.chdir(folder)
            return folder, load(folder / "params.yaml")
    raise MissingArtifact(
        f"neither {here} nor a folder above it contains params.yaml and dvc.yaml: run inside an AutoLoRA repository"
    )


@contextmanager
def _shown_progress() -> Iterator[Callable[[int, int, int], None] | None]:
    """Yield a function that shows bytes read, rate and remaining time on a terminal; None if stderr is not one."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("[progress.description]{task.description}", *columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("verify")
        yield lambda read, total, files: bar.update(
            task, completed=read, total=total, description=f"{files} files"
        )


def _print_hits(hits: "Sequence[Hit]", index: "Index", where: str | None) -> None:
    """Print a table of hits and how many adapters pass the filter, or why there is no hit."""
    total = len(index.rows)
    passing = "" if where is None else f"{index.mask(where).sum()} of {total} adapters pass the filter"
    if not hits:
        print(_why_no_hit(total, passing, where))
        return
    title = ": ".join(filter(None, (f"index {index.digest[:12]}", passing)))
    table = Table("score", "relevance", "adapter", "license", "trigger words", "sha256", title=title)
    for column in table.columns:
        column.overflow = "fold"
    for hit in hits:
        words = ", ".join(hit.trigger_words) or "–"
        relevance = "–" if hit.relevance is None else f"{hit.relevance:.2f}"
        row = (f"{hit.score:.3f}", relevance, hit.id, hit.license or "unknown", words, hit.sha256[:8])
        table.add_row(*map(escape, row))
    _print_table(table)


def _why_no_hit(total: int, passing: str, where: str | None) -> str:
    """Return why a search or a selection has no hit."""
    if not total:
        return "the index is empty: the pool has no accepted adapter"
    if where and passing.startswith("0 "):
        return f"{passing} {where}"
    return "no adapter fits the prompt" + (f"; {passing}" if passing else "")


def _show_image(path: Path, as_json: bool) -> None:
    """Print how a generated image was made. Needs no repository."""
    from autolora.generation import describe_provenance, read_provenance

    provenance = read_provenance(path)
    if as_json:
        print(_as_json(provenance))
    else:
        _print_table(_two_columns(describe_provenance(provenance)))


def _explain(
    root: Path, params: Params, retriever: "Retriever", prompt: str, hits: "Sequence[Hit]", with_blocks: bool
) -> "list[Reasons]":
    """Return the reasons of the hits; the blocks, which need torch, on request."""
    from autolora.reasons import add_blocks, explain

    reasons = explain(root, retriever, prompt, hits)
    return add_blocks(root, retriever, prompt, hits, reasons, params.pool) if with_blocks else reasons


def _print_reasons(hits: "Sequence[Hit]", reasons: "Sequence[Reasons]") -> None:
    """Print a block of labels and values per hit."""
    from autolora.reasons import describe

    for hit, reason in zip(hits, reasons, strict=True):
        print(f"\n{hit.rank}. {hit.id}")
        _print_table(_two_columns(describe(reason)))


def _compare_captions(root: Path, record: "AdapterRecord") -> "list[CaptionAgreement]":
    """Return the agreement of each caption of an adapter with the weights; empty without captions."""
    from autolora.report.caption_agreement import compare_captions
    from autolora.retrieval import open_retriever

    if record.adapter is None or not record.captions:
        return []
    return compare_captions(open_retriever(root), record.adapter.sha256, record.captions)


def _agreement_table(agreements: "Sequence[CaptionAgreement]") -> Table:
    """Return the table of `show --captions`: one line per caption, those of one image together."""
    table = Table("weights", "other images", "image", "caption", title="cosine of each caption with")
    table.columns[-1].overflow = "fold"
    for row in agreements:
        others = "–" if row.others is None else f"{row.others:.3f}"
        table.add_row(f"{row.weights:.3f}", others, row.image[:8], escape(row.text))
    return table


def _print_evaluation(report: Mapping[str, Any]) -> None:
    """Print a table of metrics by method, and a table of the prompts whose first hit is wrong."""
    metrics = list(report["methods"]["index"])
    title = f"{report['prompts']} prompts, {report['adapters']} adapters, index {report['index'][:12]}"
    table = Table("method", *metrics, title=title)
    for method, values in report["methods"].items():
        intervals = (f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in values.values())
        table.add_row(method, *map(escape, intervals))
    _print_table(table)
    if not report["failures"]:
        print("every first hit is one of the prompt's adapters")
        return
    failures = Table("line", "prompt", "rank", "first hit", "score", title="first hit not among the adapters")
    for row in report["failures"]:
        cells = (str(row["line"]), row["prompt"], str(row["rank"]), row["first_hit"], f"{row['score']:.3f}")
        failures.add_row(*map(escape, cells))
    for column in failures.columns:
        column.overflow = "fold"
    _print_table(failures)


def _two_columns(rows: Mapping[str, Any]) -> Table:
    """Return a table of labels and values."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in rows.items():
        table.add_row(f"[bold]{label}", escape(str(value)))
    return table


def _print_table(table: Table) -> None:
    """Print a table with print(): rich's own output exits with an error and no message if the pipe is closed."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")


def _parse_count(text: str | None) -> int | None:
    """Return the number of adapters that -k gives; None if it gives none, or `auto`."""
    if text is None or text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is neither a number from 1 nor auto", param_hint="-k")
    return int(text)


def _parse_adapter(text: str) -> tuple[str, float]:
    """Return the name and strength of `NAME[:STRENGTH]`; the strength is 1 if it is not given."""
    name, _, strength = text.rpartition(":")
    try:
        value = float(strength)
    except ValueError:
        return text, 1.0
    if not name or not math.isfinite(value):
        raise typer.BadParameter(f"'{text}' is not NAME or NAME:STRENGTH", param_hint="--adapter")
    return name, value


def _choose(
    retriever: "Retriever",
    prompt: str,
    k: int | None,
    named: "Sequence[tuple[str, float]]",
    where: str | None,
    params: "RetrievalParams",
) -> "list[Hit]":
    """Return the named adapters, else the first k hits, else the selection."""
    if named:
        hits = retriever.named(prompt, [name for name, _ in named])
        return [replace(hit, strength=strength) for hit, (_, strength) in zip(hits, named, strict=True)]
    return retriever.select(prompt, params, where) if k is None else retriever.search(prompt, k, where)


def _is_writable(folder: Path) -> bool:
    """Return whether files can be written to a folder, or to its nearest existing parent if it does not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _slug(prompt: str) -> str:
    """Return a file name for a prompt: its words in lower case, joined by `-`, at most 60 characters."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return "-".join(words)[:60].strip("-") or "image"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
