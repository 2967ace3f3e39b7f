"""The studies on fusion as the page shows them: tables of rows with intervals, curves, and figures.

They were measured in the worlds that they name, whatever pool the page is about.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.errors import AutoLoraError
from autolora.metrics.study import Study, StudyRow, StudyTable, read_study
from autolora.report.charts import Line, Plot, make_plot
from autolora.report.decimals import decimal
from autolora.report.images import PageImage, encode_grid
from autolora.report.study_curves import StudyCurves, curves_of

FIGURES = Path("docs", "images")
FIGURE_PX = 2400
"""largest side of a figure: with less, the titles of its columns cannot be read"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A command that writes a study."""

    title: str
    command: str
    path: Path
    figure: str | None
    """name of the figure that it draws of a world, in which {} stands for the world"""


SOURCES = (
    Source(
        title="The paper’s experiments",
        command="python -m bench.paper",
        path=Path("metrics", "paper_bench.json"),
        figure="paper-{}-figure-2.png",
    ),
    Source(
        title="What a learned gate adds",
        command="python -m bench.gates",
        path=Path("metrics", "gates_bench.json"),
        figure=None,
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableView:
    """A table with its rows on common axes."""

    table: StudyTable
    values: Plot
    differences: Plot | None
    """None if no row is compared with another one"""
    reference: str | None
    """the row that all others are compared with; None if they are compared with different ones"""
    curves: StudyCurves | None
    """if the rows are numbers of loaded adapters"""

    @property
    def summary(self) -> str:
        """Return the highest score and its row, or that all are the same as they are printed."""
        best, *others = self.table.rows
        score = decimal(best.score.value)
        if others and all(decimal(row.score.value) == score for row in others):
            return f"all rows {score}"
        return f"highest {score}: {best.name}"

    @property
    def lines(self) -> list[tuple[StudyRow, Line, Line | None]]:
        """Return each row with its score and its difference."""
        differences = {line.name: line for line in self.differences.lines} if self.differences else {}
        return [
            (row, line, differences.get(row.name))
            for row, line in zip(self.table.rows, self.values.lines, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldView:
    """The tables of one world."""

    name: str
    tables: tuple[TableView, ...]
    figure: PageImage | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyView:
    """A study in all its worlds."""

    title: str
    worlds: tuple[WorldView, ...]
    problems: tuple[str, ...]
    """what cannot be shown, and what to do"""


def read_studies(root: Path) -> list[StudyView]:
    """Return the studies whose numbers a repository has; what cannot be read is a problem."""
    return [_view(root, source) for source in SOURCES]


def _view(root: Path, source: Source) -> StudyView:
    missing = f"{source.path.as_posix()} does not exist: `{source.command}` writes it"
    try:
        study = read_study(root / source.path, source.command)
    except AutoLoraError as error:
        study = Study(worlds={}, problems=(str(error),))
    views = tuple(_world(root, source, name, tables) for name, tables in study.worlds.items())
    problems = study.problems if views or study.problems else (missing,)
    return StudyView(title=source.title, worlds=views, problems=tuple(f"{problem}." for problem in problems))


def _world(root: Path, source: Source, name: str, tables: Mapping[str, StudyTable]) -> WorldView:
    path = root / FIGURES / source.figure.format(name) if source.figure else None
    return WorldView(
        name=name,
        tables=tuple(map(_table, tables.values())),
        figure=encode_grid(path, FIGURE_PX) if path else None,
    )


def _table(table: StudyTable) -> TableView:
    order = [row.name for row in table.rows]
    scores = {row.name: {table.score: asdict(row.score)} for row in table.rows}
    differences = {row.name: {table.score: asdict(row.difference)} for row in table.rows if row.difference}
    values = make_plot(scores, table.score, order, is_difference=False)
    assert values is not None, "a table has a row with its main score"
    references = {row.reference for row in table.rows if row.difference}
    return TableView(
        table=table,
        values=values,
        differences=make_plot(differences, table.score, order, is_difference=True),
        reference=references.pop() if len(references) == 1 else None,
        curves=curves_of(table),
    )
