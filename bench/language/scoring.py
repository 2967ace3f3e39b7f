"""What a way reaches, by kind of prompt and by what stands around it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from autolora.metrics.bootstrap import Estimate, cluster_means, estimate
from autolora.storage.arrays import Float64Array
from bench.language.prompts import WRAPPED, Context, Prompt
from bench.language.ways import Choice, Way

BARE = "bare"
RESAMPLES, SEED = 2000, 0
Metric = Literal["exact", "first", "chosen", "wrong"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Column = tuple[str, Metric]
"""kind of prompt, and metric"""
COLUMNS: Mapping[str, Column] = {
    "singles": ("single", "exact"),
    "singles R@1": ("single", "first"),
    "composites": ("composite", "exact"),
    "triples": ("triple", "exact"),
    "neighbours": ("neighbours", "exact"),
    "grid": ("grid", "exact"),
    "plurals": ("plurals", "exact"),
    "base: nothing": ("none", "exact"),
    "theme removed: nothing": ("absent", "exact"),
    "unrelated: nothing": ("unrelated", "exact"),
    "other words R@1": ("other words", "first"),
    "chosen": ("other words", "chosen"),
    "wrong": ("other words", "wrong"),
    "new words R@1": ("new words", "first"),
    "new chosen": ("new words", "chosen"),
    "new wrong": ("new words", "wrong"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """The share of prompts in three contexts."""

    bare: float
    worst: float
    """in the form in which it is worst"""
    form: str
    """that form"""
    wrapped: float
    n: int
    """prompts"""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The choices of a way for prompts (P,) in each context."""

    prompts: Sequence[Prompt]
    choices: Mapping[str, Sequence[Choice]]
    """context -> (P,)"""

    def cell(self, column: Column) -> Cell | None:
        """Return the shares of a column; None if it has no prompt."""
        kind, metric = column
        clusters = [prompt.cluster for prompt in self.prompts if prompt.kind == kind]
        if not clusters:
            return None
        shares = {
            context: float(cluster_means(self.values(column, context), clusters).mean())
            for context in self.choices
        }
        forms = [context for context in shares if context != WRAPPED]
        worst = (max if metric == "wrong" else min)(forms, key=lambda form: shares[form])
        return Cell(shares[BARE], shares[worst], worst, shares[WRAPPED], len(clusters))

    def values(self, column: Column, context: str) -> Float64Array:
        """Return 1 or 0 for each prompt of a column's kind."""
        kind, metric = column
        pairs = zip(self.prompts, self.choices[context], strict=True)
        return np.array(
            [float(score(prompt, choice)[metric]) for prompt, choice in pairs if prompt.kind == kind]
        )

    def interval(self, column: Column, context: str, less: "Answers | None" = None) -> Estimate:
        """Return a share, or its difference to that of other answers to the same prompts. Resamples are of themes."""
        values = self.values(column, context)
        if less is not None:
            values = values - less.values(column, context)
        clusters = [prompt.cluster for prompt in self.prompts if prompt.kind == column[0]]
        return estimate(values, clusters, resamples=RESAMPLES, seed=SEED)


def score(prompt: Prompt, choice: Choice) -> dict[Metric, bool]:
    """Return whether a choice is right.

    exact: an adapter is selected for each theme that is asked for, and none of another theme. first: the first hit is
    of such a theme. chosen: a selected one is. wrong: a selected one is not.
    """
    wanted = frozenset() if prompt.is_removed else prompt.themes
    return {
        "exact": choice.used == wanted,
        "first": choice.first in wanted,
        "chosen": bool(choice.used & wanted),
        "wrong": bool(choice.used - wanted),
    }


def answer(way: Way, prompts: Sequence[Prompt], contexts: Mapping[str, Context]) -> Answers:
    """Return the answers of a way to prompts in all contexts."""
    texts = {name: [around(prompt.text) for prompt in prompts] for name, around in contexts.items()}
    way.prepare([text for row in texts.values() for text in row])
    choices = {
        name: [way.choose(prompt, text) for prompt, text in zip(prompts, row, strict=True)]
        for name, row in texts.items()
    }
    return Answers(prompts, choices)


def cells(answers: Answers, columns: Mapping[str, Column]) -> dict[str, Cell]:
    """Return the cells of the columns that have prompts."""
    found = {name: answers.cell(column) for name, column in columns.items()}
    return {name: cell for name, cell in found.items() if cell is not None}


def intervals(answers: Answers, less: Answers | None = None) -> dict[str, dict[str, Estimate]]:
    """Return column -> context -> interval: bare, in the form in which `answers` are worst, and wrapped."""
    return {
        name: {
            shown: answers.interval(COLUMNS[name], context, less)
            for shown, context in (("bare", BARE), ("worst", cell.form), ("wrapped", WRAPPED))
        }
        for name, cell in cells(answers, COLUMNS).items()
    }


def to_markdown(rows: Mapping[str, Mapping[str, Cell]], columns: Sequence[str]) -> str:
    """Return a table; each cell has the shares bare, in the worst form, and wrapped."""
    lines = [("row", *columns), ("---",) * (len(columns) + 1)]
    lines += [
        (name, *(cell_text(row[column]) if column in row else "" for column in columns))
        for name, row in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell_text(cell: Cell) -> str:
    """Return the shares, as few characters as possible."""
    return " ".join(f"{value:.2f}".removeprefix("0") for value in (cell.bare, cell.worst, cell.wrapped))


def intervals_markdown(tables: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> str:
    """Return a line per column of each table of `intervals`."""
    lines = ["| | column | bare | worst form | wrapped |", "|---|---|---|---|---|"]
    for name, columns in tables.items():
        for column, contexts in columns.items():
            texts = [f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in contexts.values()]
            lines.append(f"| {name} | {column} | {' | '.join(texts)} |")
    return "\n".join(lines)


def folders_markdown(table: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return a line per way: the shares of names of themes that select just their adapters, find one first, …"""
    lines = ["| folders, by | exact | first | wrong |", "|---|---|---|---|"]
    for way, columns in table.items():
        texts = (f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in columns.values())
        lines.append(f"| {way} | {' | '.join(texts)} |")
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """Return tables of cells or estimates as a JSON value."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return asdict(value)
