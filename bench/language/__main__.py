"""Measure the languages of a search, print the tables, and write metrics/language.json: `python -m bench.language`.

The languages and their fit are in bench/language/variants.py, the rows in bench/language/rows.py; they have the
adapters of the index as candidates. A second table has pools with fewer or wrong captions and with texts, a third one
folders of files that people have named (bench/language/mixtures.py). A cell has three shares of prompts: bare, in the
worst of eight forms, and in one of 24 wrappers. A share is the mean over themes, or over prompts that have none. One
slow row has a third of the composites and of other large kinds. The playground's CLIP reads 32 tokens of a prompt.
All takes some minutes of one core.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autolora.errors import ParamsError, exit_on_error
from autolora.metrics.bootstrap import Estimate
from autolora.metrics.numbers import rounded, to_json
from autolora.search.retriever import Retriever
from autolora.storage.files import read_json, write_atomic
from bench.language import rows as table
from bench.language import scoring
from bench.language.pools import agreeing
from bench.language.project import Project, open_project
from bench.language.prompts import WRAPPED
from bench.language.rows import PLAIN, PRESENT
from bench.language.scoring import COLUMNS, Answers, cells
from bench.timing import today

RESULTS = Path(__file__).parents[2] / "metrics" / "language.json"
CHECKED = 10
"""every such prompt is answered by the retriever too"""


def main() -> None:
    """Measure and print; write the file unless something is left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.language", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows to measure")
    parser.add_argument("--without-new", action="store_true", help="leave out the words that decide")
    options = parser.parse_args()
    logging.getLogger("autolora.text_encoder").setLevel(logging.ERROR)  # CLIP reads 32 tokens of each text
    project = open_project(options.root.absolute(), with_new=not options.without_new)
    measured = measure(project, options.only)
    shares = {name: cells(answers, _columns(name)) for name, answers in measured.items()}
    intervals = estimate(measured)
    print(scoring.to_markdown(shares, list(COLUMNS)))
    print(scoring.intervals_markdown(intervals))
    mixed = {} if options.only else table.answer_mixtures(project)
    mixtures = {name: cells(answers, COLUMNS) for name, answers in mixed.items()}
    print(scoring.to_markdown(mixtures, list(COLUMNS)))
    named = {} if options.only else table.answer_folders(project)
    print(scoring.folders_markdown(named))
    checks = check(project, measured)
    print("\n".join(f"{name}: {value}" for name, value in checks.items()))
    if options.only is None and not options.without_new:
        content = {
            "date": today().isoformat(),
            "index": project.index.digest,
            "runs_with_new_words": (read_json(RESULTS) or {}).get("runs_with_new_words", 0) + 1,
            "rows": scoring.plain(shares),
            "intervals": scoring.plain(intervals),
            "mixtures": scoring.plain(mixtures),
            "mixtures' intervals": {
                name: scoring.plain(scoring.intervals(row)) for name, row in mixed.items()
            },
            "folders": scoring.plain(named),
            "checks": checks,
        }
        write_atomic(RESULTS, to_json(rounded(content)))


def measure(project: Project, only: list[str] | None) -> dict[str, Answers]:
    """Return the answers of the rows. Raises ParamsError if there is no row of a name."""
    rows = table.rows(project)
    if unknown := set(only or ()) - {*rows}:
        raise ParamsError(f"there is no row {', '.join(unknown)}: choose among {', '.join(rows)}")
    return {name: row() for name, row in rows.items() if only is None or name in only}


def estimate(measured: Mapping[str, Answers]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Return the intervals of the present way, and of its difference to the plain cosine of parts."""
    present, plain = measured.get(PRESENT), measured.get(PLAIN)
    tables = {} if present is None else {PRESENT: scoring.intervals(present)}
    if present is not None and plain is not None:
        tables[f"{PRESENT} less {PLAIN}"] = scoring.intervals(present, plain)
    return tables


def check(project: Project, measured: Mapping[str, Answers]) -> dict[str, float]:
    """Return how far the bench deviates from the product: 0 if it measures what a search does."""
    index, language = project.index, project.present.language
    assert index.language is not None and index.captions_vectors is not None
    fitted = [
        np.abs(getattr(language.captions, name) - getattr(index.language.captions, name)).max()
        for name in ("said_mean", "phrase_mean", "matrix")
    ]
    rule = project.rule, project.embed, index.language.min_length
    counted = [bool(row) for row in agreeing(project.captions, index, *rule)]
    pool = project.pool(index.language, project.served)
    return {
        "map, largest difference to the index": float(max(fitted)),
        "coefficients, largest difference": float(
            np.abs(language.coefficients - index.language.coefficients).max()
        ),
        "captions that count, share of others": float(np.mean(counted != index.has_captions)),
        "captions' vectors, largest difference": float(
            np.abs(pool.evidence.captions - index.captions_vectors).max()
        ),
        **{
            f"{name}, share of other selections than the retriever's": _differing(project, retriever, answers)
            for name, retriever in ((PRESENT, project.retriever),)
            if (answers := measured.get(name))
        },
    }


def _differing(project: Project, retriever: Retriever, answers: Answers) -> float:
    """Return the share of prompts for which a retriever selects other themes."""
    themes = dict(zip((row["sha256"] for row in project.index.rows), project.themes, strict=True))
    around, choices = project.contexts[WRAPPED], answers.choices[WRAPPED]
    kept = [row for row, prompt in enumerate(answers.prompts) if not prompt.is_removed][::CHECKED]
    selected = [
        {themes[hit.sha256] for hit in retriever.select(around(answers.prompts[row].text))} for row in kept
    ]
    return float(np.mean([used != choices[row].used for row, used in zip(kept, selected, strict=True)]))


def _columns(name: str) -> Mapping[str, scoring.Column]:
    return table.FIRST_HITS if name in (table.BM25, table.WHOLE) else COLUMNS


if __name__ == "__main__":
    with exit_on_error():
        main()
