"""`autolora search`."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import (
    BaseModels,
    Derivatives,
    Families,
    Hubs,
    ImageFile,
    Json,
    Licenses,
    MaxMb,
    MaxRank,
    MaySell,
    Nsfw,
    Person,
    PromptOrNone,
    Rev,
    Since,
    Where,
    check_prompt,
)
from autolora.cli.output import print_facts, print_lines, print_table, to_json
from autolora.cli.paths import to_absolute
from autolora.extras import libraries_for
from autolora.params import Params
from autolora.storage.suggestions import did_you_mean

if TYPE_CHECKING:
    from PIL import Image

    from autolora.index.copies import Index
    from autolora.records import Hit
    from autolora.search.reasons import Reasons
    from autolora.search.retriever import Retriever

MIN_FOLDED, MAX_FOLDED = 24, 32
"""characters to which what an adapter does is folded under an id: as many as that has, within these limits"""
NUM_NEAREST = 3
"""adapters that are named if none fits"""
FAMILY = "family"
MAX_LISTED = 12
"""different values that a warning of an unknown one lists"""


def search(
    prompt: PromptOrNone = None,
    image: ImageFile = None,
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
        typer.Option("--reasons", help="Print why each adapter was found."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for the adapters that fit PROMPT, or the caption of an image, and pass all filters.

    Prompts are read in English. What a hub does not report passes no filter but --no-nsfw.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it when it is imported
    _check_query(prompt, image)
    from autolora.index.conditions import any_of, is_set, of_options
    from autolora.search.retriever import open_retriever

    count, file = _parse_count(k), to_absolute(image) if image else None
    root, params = enter_repository()
    flags = (is_set("nsfw", nsfw), is_set("person", person), any_of(FAMILY, families))
    conditions = [
        *of_options(
            licenses=licenses,
            may_sell=may_sell,
            derivatives=derivatives,
            bases=bases,
            hubs=hubs,
            max_rank=max_rank,
            max_mb=max_mb,
            since=since.date() if since else None,
        ),
        *(condition for condition in flags if condition is not None),
        *(where or ()),
    ]
    opened = _open_image(file, params) if file else None
    retriever = open_retriever(root, rev, params)
    named_values = {"license": licenses, "base": bases, "hub": hubs, FAMILY: families}
    warn_of_unknown_values(retriever.index, named_values)
    number = params.retrieval.k if k is None else count
    text = _describe(root, params, file, opened) if file and opened else prompt or ""
    hits = retriever.choose(text, k=number, where=conditions or None)
    reasons = retriever.reasons(text, hits) if as_json or with_reasons else []
    if as_json:
        rows = zip(hits, _columns(retriever, hits), reasons, strict=True)
        print(to_json([row | asdict(hit) | {"reasons": asdict(reason)} for hit, row, reason in rows]))
        return
    if not hits:
        print_lines(*explain_no_hit(retriever, text, conditions).splitlines())
        return
    _print_hits(hits, retriever, conditions)
    print_lines(*retriever.survey(text, conditions or None, hits).lines)
    if with_reasons:
        _print_reasons(hits, reasons)


def _check_query(prompt: str | None, image: Path | None) -> None:
    """Raise a usage error unless there is either a prompt or an image."""
    if prompt is None and image is None:
        raise typer.BadParameter("give PROMPT, or an image (--image FILE)", param_hint="PROMPT")
    if prompt is not None and image is not None:
        raise typer.BadParameter("give either PROMPT or an image", param_hint="--image")
    if prompt is not None:
        check_prompt(prompt)


def _open_image(file: Path, params: Params) -> "Image.Image":
    """Return the image in a file, before anything that takes longer is loaded."""
    with libraries_for("a search by an image"):
        from autolora.search.by_image import open_image

    return open_image(file, params.pool)


def _describe(root: Path, params: Params, file: Path, image: "Image.Image") -> str:
    """Return the caption of the image of a file, and print it to stderr."""
    from autolora.search.by_image import describe_image

    announce(f"captioning {file.name} with {params.models.vlm}")
    caption = describe_image(root, params, image)
    announce(f"searching for its caption: {caption}")
    return caption


def _parse_count(text: str | None) -> int | None:
    """Return the number of adapters that -k gives; None if it gives none, or `auto`."""
    if text is None or text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is neither a number from 1 nor auto", param_hint="-k")
    return int(text)


def _columns(retriever: "Retriever", hits: "Sequence[Hit]") -> list[dict[str, Any]]:
    """Return the columns that a filter can name, and what the adapter does, of each hit, as JSON values."""
    from autolora.index.conditions import FILTER_COLUMNS

    positions = retriever.index.find([hit.sha256 for hit in hits]).tolist()
    rows = [retriever.index.rows[position] for position in positions]
    return [
        {
            name: value.isoformat() if isinstance(value := row[name], date) else value
            for name in FILTER_COLUMNS
        }
        | {"does": retriever.what_it_does(position) or None}
        for position, row in zip(positions, rows, strict=True)
    ]


def _print_hits(hits: "Sequence[Hit]", retriever: "Retriever", conditions: "Sequence[str]") -> None:
    """Print a table of hits and how many adapters pass the filter."""
    from autolora.search.survey import group_hits

    passing = describe_passing(retriever, conditions)
    title = ": ".join(filter(None, (f"index {retriever.index.digest[:12]}", passing)))
    folded = min(max(MIN_FOLDED, *(len(hit.id) for hit in hits)), MAX_FOLDED)
    rows: list[tuple[str, ...]] = []
    for heading, group in group_hits(hits, retriever.settings.retrieval.min_relevance):
        rows += [("", "", fill(heading, MAX_FOLDED), "", "", "")] if heading else []
        for hit, position in zip(group, retriever.index.find([hit.sha256 for hit in group]), strict=True):
            does = fill(retriever.what_it_does(int(position)), folded)
            rows.append(_cells(hit, does, retriever.settings.retrieval.min_relevance))
    print_table(("score", "relevance", "adapter", "license", "trigger words", "sha256"), rows, title)


def _cells(hit: "Hit", does: str, min_relevance: float) -> tuple[str, ...]:
    """Return the cells of a row. A relevance that does not suffice for a selection has a question mark."""
    unsure = "?" if hit.relevance is not None and hit.relevance < min_relevance else ""
    relevance = "–" if hit.relevance is None else f"{hit.relevance:.2f}{unsure}"
    name = f"{hit.id}\n({hit.exact})" if hit.exact else hit.id
    name = f"{name}\n{does}" if does else name
    words = ", ".join(hit.trigger_words) or "–"
    return f"{hit.score:.3f}", relevance, name, hit.license or "unknown", words, hit.sha256[:8]


def describe_passing(retriever: "Retriever", conditions: "Sequence[str]") -> str:
    """Return how many adapters pass the conditions; "" without any."""
    if not conditions:
        return ""
    return f"{retriever.passing(conditions).sum()} of {len(retriever.index.rows)} adapters pass the filter"


def explain_no_hit(retriever: "Retriever", prompt: str, conditions: "Sequence[str]") -> str:
    """Return why a search or a selection has no hit; if adapters pass the filter, the nearest ones in further lines."""
    if not len(retriever.index.rows):
        return "the index is empty: the pool has no accepted adapter"
    passing = describe_passing(retriever, conditions)
    if passing.startswith("0 "):
        return f"{passing} {' AND '.join(conditions)}"
    survey = retriever.survey(prompt, conditions or None)
    if survey.only_excludes:
        return "\n".join(survey.lines)
    nearest = retriever.search(prompt, NUM_NEAREST, conditions or None)
    lines = [f"{hit.hub}:{hit.id}, {_fit(hit)}" for hit in nearest]
    unsure = retriever.select(prompt, conditions or None, unsure=True)
    return "\n  ".join(
        [
            "no adapter fits the prompt" + (f"; {passing}" if passing else "") + "; the nearest:",
            *lines,
            *survey.hidden_lines,
            *survey.negated_lines,
            *(["use those that may fit: `autolora generate --unsure`"] if unsure else []),
            "use the first one anyway: `autolora generate -k 1`; a certain one: `--adapter NAME`",
        ]
    )


def _fit(hit: "Hit") -> str:
    """Return how well a hit fits, and which part of the prompt; of one that the prompt names, what of it is named."""
    if hit.exact:
        return f"named by the prompt ({hit.exact})"
    return f"relevance {hit.relevance:.2f}" + (f" for: {hit.part}" if hit.part else "")


def _print_reasons(hits: "Sequence[Hit]", reasons: "Sequence[Reasons]") -> None:
    """Print a block of labels and values per hit."""
    from autolora.search.reasons import describe

    for hit, reason in zip(hits, reasons, strict=True):
        print(f"\n{hit.id}")
        print_facts(describe(reason))


def warn_of_unknown_values(index: "Index", wanted: Mapping[str, Sequence[str] | None]) -> None:
    """Print a line to stderr per value that no adapter has: the search then finds nothing by it.

    wanted: column -> values of its option; None if the option is not given.
    """
    for column, values in wanted.items():
        for line in _warnings_of_unknown_values(index, column, values or ()):
            print(line, file=sys.stderr)


def _warnings_of_unknown_values(index: "Index", column: str, values: Sequence[str]) -> Iterator[str]:
    if not values:
        return
    known = sorted(filter(None, index.rows.columns.column(column).unique().to_pylist()))
    for value in values:
        if value not in known and column == FAMILY:  # no sha256 is meant by a similar one
            yield f"no adapter has the {FAMILY} '{value}'; `autolora show NAME` prints that of an adapter"
        elif value not in known:
            listed = f"; those of the index are {', '.join(known)}" if 0 < len(known) <= MAX_LISTED else ""
            yield f"no adapter has the {column} '{value}'{did_you_mean(value, known)}{listed}"
