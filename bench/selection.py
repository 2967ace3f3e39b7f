"""The selection of adapters for prompts on the playground: `python -m bench.selection` (after `make demo`).

Prompts ask for an object and a style, each in two phrasings, for these in a scene, for one of them, for one whose
adapters are taken out of the index, or for an object that the base model draws without an adapter. The most relevant
adapters are compared with the selection, in the index that is served. `bench.language` has prompts in other words.
Intervals come from resampling whole themes. The prompts use the words of the playground's own captions, and adapters of
most themes are in the training set: this measures the choice among adapters, not how well unseen ones are found.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from autolora.errors import exit_on_error
from autolora.metrics.bootstrap import Estimate, estimates
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.search.retriever import Retriever, open_retriever
from autolora.storage.arrays import BoolArray, Float64Array
from bench.reliability import calibration_error, draw_reliability
from bench.selection_cases import Case, make_cases
from bench.timing import today

COMMAND = "python -m bench.selection"
FIGURE = Path("docs", "images", "selection.png")
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """What a prompt gets: the adapters that a search or a selection considered, best first."""

    case: Case
    themes: tuple[str, ...]
    """of the considered adapters"""
    relevance: tuple[float, ...]
    count: int
    """number of adapters that are used: the first of the considered ones"""

    @property
    def used(self) -> tuple[str, ...]:
        """Return the themes of the adapters that are used."""
        return self.themes[: self.count]


Choose = Callable[[Case, Retriever, Sequence[str]], Result]


def main() -> None:
    """Measure, print the tables, draw the figure, and write the rows of metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    root = parser.parse_args().root.absolute()
    params = load(root / "params.yaml")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    retriever = open_retriever(root)
    themes = [judgments[row["sha256"]].theme for row in retriever.index.rows]
    cases = make_cases(judgments[row["sha256"]] for row in retriever.index.rows)
    ways: dict[str, Choose] = {"search": first_hits, "selection": select}
    results = {name: [choose(case, retriever, themes) for case in cases] for name, choose in ways.items()}
    tables = {name: measure(rows) for name, rows in results.items()}
    doubts = measure_doubts(results["selection"])
    print(to_markdown(tables))
    print("\n".join(f"{name}: {estimate_text(estimate)}" for name, estimate in doubts.items()))
    (root / FIGURE).write_bytes(draw_reliability(*considered(results["selection"])))
    update(root, COMMAND, today(), headlines(tables, doubts, params.encoder.preset))


def may_be_found(case: Case, themes: Sequence[str]) -> BoolArray:
    """Return the adapters (N,) among which those for a prompt are looked for."""
    removed = case.themes if case.kind == "absent" else frozenset()
    return np.array([theme not in removed for theme in themes])


def first_hits(case: Case, retriever: Retriever, themes: Sequence[str]) -> Result:
    """Return the most relevant adapters, fitting or not."""
    relevance = np.where(may_be_found(case, themes), retriever.parts(case.prompt).relevance(), -1.0)
    best = np.argsort(-relevance, kind="stable")[: retriever.settings.retrieval.max_selected]
    return Result(case, tuple(themes[row] for row in best), tuple(relevance[best].tolist()), len(best))


def select(case: Case, retriever: Retriever, themes: Sequence[str]) -> Result:
    """Return the selection, followed by the adapter at which it ended."""
    params, found = retriever.settings.retrieval, list[tuple[int, float]]()
    for row in islice(retriever.parts(case.prompt).pursue(may_be_found(case, themes)), params.max_selected):
        assert row.relevance is not None
        found.append((row.position, row.relevance))
        if row.relevance < params.min_relevance:
            break
    count = sum(relevance >= params.min_relevance for _, relevance in found)
    return Result(
        case, tuple(themes[row] for row, _ in found), tuple(relevance for _, relevance in found), count
    )


def measure(results: Sequence[Result]) -> dict[str, dict[str, Estimate]]:
    """Return kind of prompt -> metric -> estimate.

    all: every requested theme has an adapter among those used. exact: and no other theme has one. unnamed: number of
    used adapters of other themes. repeated: number of used adapters of a theme that has one already.
    """
    tables = {}
    for kind in dict.fromkeys(result.case.kind for result in results):
        rows = [result for result in results if result.case.kind == kind]
        wanted = [frozenset() if kind == "absent" else result.case.themes for result in rows]
        columns = {
            "all": [themes <= set(row.used) for row, themes in zip(rows, wanted, strict=True)],
            "exact": [themes == set(row.used) for row, themes in zip(rows, wanted, strict=True)],
            "unnamed": [
                sum(theme not in themes for theme in row.used)
                for row, themes in zip(rows, wanted, strict=True)
            ],
            "repeated": [row.count - len(set(row.used)) for row in rows],
        }
        values = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
        clusters = [result.case.cluster for result in rows]
        tables[kind] = estimates(values, clusters, resamples=RESAMPLES, seed=0)
    return tables


def considered(results: Sequence[Result]) -> tuple[Float64Array, BoolArray]:
    """Return the relevance of every adapter that selections considered, and whether its theme is requested."""
    relevance = [value for result in results for value in result.relevance]
    right = [
        theme in result.case.themes and result.case.kind != "absent"
        for result in results
        for theme in result.themes
    ]
    return np.array(relevance), np.array(right, dtype=np.bool_)


def measure_doubts(results: Sequence[Result]) -> dict[str, Estimate]:
    """Return how well the relevance of the first adapter tells prompts that it fits from others (AUROC), and the
    expected calibration error.

    Resamples are of whole themes.
    """
    rng = np.random.default_rng(0)
    by_cluster: dict[str, list[Result]] = {}
    for result in results:
        by_cluster.setdefault(result.case.cluster, []).append(result)
    groups = list(by_cluster.values())
    draws = [[groups[row] for row in rng.integers(len(groups), size=len(groups))] for _ in range(RESAMPLES)]
    measures: dict[str, Callable[[Sequence[Result]], float]] = {
        "auroc_none": lambda rows: auroc(rows, "none"),
        "auroc_absent": lambda rows: auroc(rows, "absent"),
        "calibration_error": lambda rows: calibration_error(*considered(rows)),
    }
    doubts = {}
    for name, function in measures.items():
        values = [function([row for group in draw for row in group]) for draw in draws]
        low, high = np.nanquantile(values, [0.025, 0.975])
        doubts[name] = Estimate(
            value=function(results), low=float(low), high=float(high), n=len(results), clusters=len(groups)
        )
    return doubts


def auroc(results: Sequence[Result], kind: str) -> float:
    """Return the probability that a single prompt's first adapter is more relevant than one of a prompt of `kind`."""
    fitting = np.array([result.relevance[0] for result in results if result.case.kind == "single"])
    others = np.array([result.relevance[0] for result in results if result.case.kind == kind])
    if not len(fitting) or not len(others):
        return float("nan")
    above = (fitting[:, None] > others).mean() + 0.5 * (fitting[:, None] == others).mean()
    return float(above)


def headlines(
    tables: dict[str, dict[str, dict[str, Estimate]]], doubts: dict[str, Estimate], preset: str
) -> list[Headline]:
    """Return the rows of metrics/details.json."""
    rows = [
        (f"{way}_{kind}_{metric}", estimate)
        for way, kinds in tables.items()
        for kind, metrics in kinds.items()
        for metric, estimate in metrics.items()
    ]
    lower = ("unnamed", "repeated", "calibration_error")
    return [
        Headline(
            name=f"retrieval.{name}",
            preset=preset,
            better="lower" if name.endswith(lower) else "higher",
            **{field: value for field, value in asdict(estimate).items() if field != "clusters"},
        )
        for name, estimate in (*rows, *((f"selection_{name}", value) for name, value in doubts.items()))
    ]


def to_markdown(tables: dict[str, dict[str, dict[str, Estimate]]]) -> str:
    """Return a table: a line per way and kind of prompt."""
    lines = ["| way | prompts | all | exact | unnamed | repeated |", "|---|---|---|---|---|---|"]
    for way, kinds in tables.items():
        for kind, metrics in kinds.items():
            cells = " | ".join(map(estimate_text, metrics.values()))
            lines.append(f"| {way} | {kind}, {metrics['all'].n} | {cells} |")
    return "\n".join(lines)


def estimate_text(estimate: Estimate) -> str:
    """Return a value with its interval."""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


if __name__ == "__main__":
    with exit_on_error():
        main()
