"""Tables of a study for a page, such as docs/gates.md: `python -m studies.page metrics/gates_bench.json`.

Each table of a study is printed as Markdown, with a row per method and columns for every world, so that a reader sees
what holds in all of them. Further scores have a table of their own per world. A test compares the page with the file.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from autolora.errors import MissingArtifact, exit_on_error
from autolora.storage.files import read_json
from studies.losses import Losses, loss_table
from studies.study_file import NO_INTERVALS, extent, format_interval
from studies.tables import LOSSES, Interval, StudyRow, StudyTable, Worlds, read_study


def tables(worlds: Worlds) -> dict[str, str]:
    """Return name -> title, counts and table of all worlds that have it, as Markdown."""
    names = dict.fromkeys(name for named in worlds.values() for name in named)
    return {
        name: "\n".join(_lines({world: named[name] for world, named in worlds.items() if name in named}))
        for name in names
    }


def case_table(worlds: Worlds) -> str:
    """Return what the cases of each table consist of, as Markdown: a line per table and world."""
    listed = [
        (table, world, named[name]) for name, table in _titles(worlds).items() for world, named in worlds.items()
        if name in named
    ]  # fmt: skip
    nouns = dict.fromkeys(noun for _, _, table in listed for noun in table.per_case)
    heads = ["table", "world", "cases", *nouns]
    lines = [
        [title, world, table.counts, *(_distribution(table.per_case.get(noun, {})) for noun in nouns)]
        for title, world, table in listed
    ]
    return "\n".join(["**Cases**", "", _line(heads), _line(["---"] * len(heads)), *map(_line, lines)])


def _titles(worlds: Worlds) -> dict[str, str]:
    """Return name -> title of the tables, in the order of the file."""
    return {name: table.title for named in worlds.values() for name, table in named.items()}


def _distribution(cases: Mapping[int, int]) -> str:
    """Return how many cases have which number, e.g. "2 in 3, 1 in 25"."""
    return ", ".join(f"{number} in {count}" for number, count in cases.items())


def read_losses(path: Path) -> dict[str, Losses]:
    """Return world -> losses of its trainings, without those of another layout."""
    losses = {}
    for world, tables in (read_json(path) or {}).items():
        if isinstance(tables, dict) and extent(LOSSES, tables.get(LOSSES)):
            losses[world] = tables[LOSSES]["gates"]
    return losses


def other_scores(worlds: Worlds) -> dict[str, str]:
    """Return name -> a table per world that has further scores, with the values of these, as Markdown."""
    printed: dict[str, list[str]] = {}
    for world, named in worlds.items():
        for name, table in named.items():
            if any(row.others for row in table.rows):
                lines = [f"**{table.title}: other scores** ({world})", "", *_other_lines(table.rows)]
                printed.setdefault(name, []).append("\n".join(lines))
    return {name: "\n\n".join(by_world) for name, by_world in printed.items()}


def _other_lines(rows: Sequence[StudyRow]) -> Iterator[str]:
    scores = [*dict.fromkeys(score for row in rows for score in row.others)]
    yield _line(["row", *scores])
    yield _line(["---"] * (len(scores) + 1))
    for row in rows:
        yield _line([row.name, *(_value(row.others.get(score)) for score in scores)])


def _value(score: Interval | None) -> str:
    """Return a number without its interval; empty without a number."""
    return "" if score is None else format_interval(asdict(replace(score, low=None, high=None)))


def _lines(by_world: Mapping[str, StudyTable]) -> Iterator[str]:
    """Yield the lines of one table. Rows are in the order of the first world, and compared with the same row."""
    listed = [*by_world.values()]
    references = {row.reference for table in listed for row in table.rows if row.reference}
    compared = f"less `{min(references)}`" if len(references) == 1 else "difference" if references else ""
    counts = (f"{world}: {table.counts}" for world, table in by_world.items())
    yield from (f"**{listed[0].title}** ({'; '.join(counts)})", "")
    if not all(table.has_intervals for table in listed):
        yield from (NO_INTERVALS, "")
    heads = [["row"], *([f"{world}: {table.score}", compared] for world, table in by_world.items())]
    names = dict.fromkeys(row.name for table in listed for row in table.rows)
    rows = [[[name], *(_cells(table, name) for table in listed)] for name in names]
    width = 2 if references else 1
    for line in (heads, [["---"], *[["---", "---"]] * len(listed)], *rows):
        yield _line(cell for cells in line for cell in cells[:width])


def _cells(table: StudyTable, name: str) -> list[str]:
    """Return score and difference of a row; empty cells if the table does not have it."""
    for row in table.rows:
        if row.name == name:
            difference = format_interval(asdict(row.difference), "+") if row.difference else ""
            return [format_interval(asdict(row.score)), difference]
    return ["", ""]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables of a file."""
    parser = argparse.ArgumentParser(prog="python -m studies.page", description=__doc__)
    parser.add_argument("file", type=Path, help="metrics/paper_bench.json or metrics/gates_bench.json")
    path = parser.parse_args().file
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: run `python -m studies.paper` or `python -m studies.gates`"
        )
    study = read_study(path, "python -m studies.paper` or `python -m studies.gates")
    parts = [case_table(study.worlds), *tables(study.worlds).values(), *other_scores(study.worlds).values()]
    if losses := read_losses(path):
        parts.append(f"**Losses**\n\n{loss_table(losses)}")
    print("\n\n".join(parts))
    for problem in study.problems:
        print(problem, file=sys.stderr)


if __name__ == "__main__":
    with exit_on_error():
        main()
