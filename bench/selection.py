"""The selection of adapters for prompts on the playground: `python -m bench.selection` (after `make demo`).

Prompts ask for an object and a style, each in two phrasings, for one of them, or for an object that the base model
draws without an adapter. The first hits of a search are compared with the selection, in the index that is served.
Intervals come from resampling whole themes. The prompts use the words of the playground's own captions, and adapters of
most themes are in the training set: this measures the choice among adapters, not how well unseen ones are found.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autolora.metrics.bootstrap import Estimate, estimates
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.records import Hit
from autolora.retrieval import Retriever, open_retriever
from bench.timing import today
from playground.world import BASE_OBJECTS, COLOURS

COMMAND = "python -m bench.selection"
COMPOSITES = ("a {object} in {style} style", "a {style} drawing of a {object}")
SINGLES = {"object": "a {theme}", "style": "a drawing in {theme} style"}
Choose = Callable[[str], list[Hit]]


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt, and the themes that it asks for."""

    kind: str
    """composite, single, or none: the base model draws it alone"""
    prompt: str
    themes: frozenset[str]
    cluster: str


def main() -> None:
    """Measure, print the table, and write the rows of metrics/summary.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    root = parser.parse_args().root
    params = load(root / "params.yaml")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    retriever, options = open_retriever(root), params.retrieval
    ways: dict[str, Choose] = {
        "search": lambda prompt: retriever.search(prompt, options.max_selected),
        "selection": lambda prompt: retriever.select(prompt, options),
    }
    cases = make_cases(retriever, judgments)
    results = {name: measure(cases, choose, judgments) for name, choose in ways.items()}
    print(to_markdown(results))
    update(root, COMMAND, today(), headlines(results, params.encoder.preset))


def make_cases(retriever: Retriever, judgments: dict[str, Judgment]) -> list[Case]:
    """Return the prompts about all objects and styles of which the index has an adapter, and those of the base."""
    indexed = [judgments[row["sha256"]] for row in retriever.index.rows if row["sha256"] in judgments]
    themes = {kind: sorted({j.theme for j in indexed if j.kind == kind}) for kind in SINGLES}
    composites = [
        Case("composite", phrase.format(object=thing, style=style), frozenset((thing, style)), thing)
        for phrase in COMPOSITES
        for thing in themes["object"]
        for style in themes["style"]
    ]
    singles = [
        Case("single", phrase.format(theme=theme), frozenset([theme]), theme)
        for kind, phrase in SINGLES.items()
        for theme in themes[kind]
    ]
    base = [
        Case("none", f"a {colour} {thing}", frozenset(), thing)
        for thing in BASE_OBJECTS
        for colour in COLOURS
    ]
    return composites + singles + base


def measure(
    cases: Sequence[Case], choose: Choose, judgments: dict[str, Judgment]
) -> dict[str, dict[str, Estimate]]:
    """Return kind of case -> metric -> estimate.

    all: every theme has an adapter among the chosen ones. exact: and no other theme has one. unnamed: number of chosen
    adapters of other themes.
    """
    results = {}
    for kind in dict.fromkeys(case.kind for case in cases):
        of_kind = [case for case in cases if case.kind == kind]
        chosen = [[_theme(hit, judgments) for hit in choose(case.prompt)] for case in of_kind]
        columns = {
            "all": [case.themes <= set(themes) for case, themes in zip(of_kind, chosen, strict=True)],
            "exact": [case.themes == set(themes) for case, themes in zip(of_kind, chosen, strict=True)],
            "unnamed": [
                sum(theme not in case.themes for theme in themes)
                for case, themes in zip(of_kind, chosen, strict=True)
            ],
        }
        values = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
        results[kind] = estimates(values, [case.cluster for case in of_kind], resamples=2000, seed=0)
    return results


def headlines(results: dict[str, dict[str, dict[str, Estimate]]], preset: str) -> list[Headline]:
    """Return the rows of metrics/summary.json."""
    rows = []
    for way, kinds in results.items():
        for kind, metrics in kinds.items():
            for metric, estimate in metrics.items():
                numbers = {name: value for name, value in asdict(estimate).items() if name != "clusters"}
                rows.append(
                    Headline(
                        name=f"retrieval.{way}_{kind}_{metric}",
                        preset=preset,
                        better="lower" if metric == "unnamed" else "higher",
                        **numbers,
                    )
                )
    return rows


def to_markdown(results: dict[str, dict[str, dict[str, Estimate]]]) -> str:
    """Return a table: a line per way and kind of prompt."""
    lines = ["| way | prompts | all | exact | unnamed |", "|---|---|---|---|---|"]
    for way, kinds in results.items():
        for kind, metrics in kinds.items():
            cells = [f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in metrics.values()]
            lines.append(f"| {way} | {kind}, {metrics['all'].n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _theme(hit: Hit, judgments: dict[str, Judgment]) -> str:
    """Return the theme of a hit; an adapter without judgment is a theme of its own."""
    return judgments[hit.sha256].theme if hit.sha256 in judgments else hit.sha256


if __name__ == "__main__":
    main()
