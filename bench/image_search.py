"""How well a search by an image finds adapters of its theme: `python -m bench.image_search` (after `make demo`).

An image is a rendering of another LoRA of the theme, or a drawing by the playground's world or by its second engine.
The adapters whose rendering it is, and their families, are left out of the index that it is searched in. Compared are

- the cosine of the judge CLIP's features of the image and the mean of an adapter's renderings,
- a caption of the image as a prompt, by the VLM or as a person gives it,
- the base model's gradient on the image, without a prompt or with the caption: by its cosine with the adapters'
  sketches, also relative to reference images, and through the encoder,
- caption and gradient together, which is what `autolora search --image` does.

Adapters are those of the index as it is, or as if none had images, so that only their weights can be compared. The
weight of the gradient is chosen on the training and validation adapters. Reported are the unseen adapters alone and the
whole index; intervals resample themes. It writes metrics/image_search.json, and takes 7 minutes on one busy core.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from autolora import models
from autolora.dataset import store as dataset
from autolora.errors import exit_on_error
from autolora.metrics.bootstrap import cluster_means, estimates
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.retrieval import ranks
from autolora.params import Params, load
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_folder
from bench.concept_material import cache_folder
from bench.concept_pools import read_pool
from bench.concept_tables import quote
from bench.image_queries import Searches, read_queries
from bench.image_scores import CAPTIONS, Scores, compute_scores

COMMAND = "python -m bench.image_search"
RESULTS = Path("metrics", "image_search.json")
KS = (1, 5)
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""of the gradient, among which the choice is made"""
REFERENCE, COMBINED, CHANCE = CAPTIONS["model"], f"{CAPTIONS['model']} and gradient", "chance"
UNSEEN, WHOLE = "unseen adapters", "whole index"
Table = dict[str, Any]
Columns = Mapping[str, Mapping[str, Scores]]
"""column -> row -> scores"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write them."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    root: Path = parser.parse_args(arguments).root
    params = load(root / "params.yaml")
    models.set_threads(params.models)
    with exclusive_folder(cache_folder(root)):
        searches = open_searches(root, params)
        scores = compute_scores(root, params, searches)
    content = rounded(measure(searches, scores, params))
    write_atomic(root / RESULTS, to_json(content))
    print(to_markdown(content))


def open_searches(root: Path, params: Params) -> Searches:
    """Return the images and the adapters of a repository with judgments of themes."""
    members, lock = read_pool(root, root / str(params.evaluation.themes)), dataset.training_lock(root)
    seen = {row.sha256 for split in ("train", "validation") for row in lock.in_split(split)}
    unseen = np.array([member.sha256 not in seen for member in members])
    return Searches(read_queries(root, members, params), members, unseen)


def measure(searches: Searches, columns: Columns, params: Params) -> Table:
    """Return `weights`, R@1 by weight of the gradient, and index -> source -> column -> row -> metric -> estimate."""
    indexes = {UNSEEN: searches.unseen, WHOLE: np.ones_like(searches.unseen)}
    return {"weights": weigh(searches, columns)} | {
        name: {
            source: {
                column: estimate_rows(searches, rows, index, searches.of_source(source), params)
                for column, rows in columns.items()
            }
            for source in dict.fromkeys(query.source for query in searches.queries)
        }
        for name, index in indexes.items()
    }


def weigh(searches: Searches, columns: Columns) -> Table:
    """Return column -> weight of the gradient -> R@1 of the training and validation adapters for their renderings."""
    queries = np.flatnonzero(searches.references())
    table: Table = {}
    for column, rows in columns.items():
        for weight in WEIGHTS:
            scores = replace(rows[COMBINED], weight=weight)
            asked, found = find(searches, scores, ~searches.unseen, queries)
            hits = (found <= 1).astype(np.float64)
            themes = [searches.queries[row].theme for row in asked]
            table.setdefault(column, {})[str(weight)] = float(cluster_means(hits, themes).mean())
    return table


def find(
    searches: Searches, scores: Scores, index: BoolArray, queries: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return the images of `queries` for which there is a right adapter in an index (n,), and the best one's rank."""
    searched = searches.allowed()[queries] & index
    right = searches.right()[queries] & searched
    asked = np.flatnonzero(right.any(axis=1))
    values = np.stack([scores.within(queries[row], searched[row]) for row in asked])
    return queries[asked], ranks(values, [np.flatnonzero(right[row]) for row in asked])


def estimate_rows(
    searches: Searches, rows: Mapping[str, Scores], index: BoolArray, queries: Int64Array, params: Params
) -> Table:
    """Return row -> metric -> estimate, with R@1 less that of the VLM's caption; clusters are themes."""
    values: dict[str, dict[int, Float64Array]] = {}
    for name, scores in rows.items():
        asked, found = find(searches, scores, index, queries)
        values[name] = {k: (found <= k).astype(np.float64) for k in KS}
    values[CHANCE] = {k: chance(searches, index, asked, k) for k in KS}
    themes = [searches.queries[row].theme for row in asked]
    table: Table = {}
    for name, columns in values.items():
        pairs = {f"R@{k}": column for k, column in columns.items()}
        pairs["difference"] = columns[1] - values[REFERENCE][1]
        found_estimates = estimates(pairs, themes, params.evaluation.bootstrap, params.evaluation.seed)
        table[name] = {metric: asdict(value) for metric, value in found_estimates.items()}
    return table


def chance(searches: Searches, index: BoolArray, asked: Int64Array, k: int) -> Float64Array:
    """Return the exact probability (n,) that a right adapter is among the first k of a random order."""
    searched = searches.allowed()[asked] & index
    sizes = searched.sum(axis=1).astype(np.float64)
    wrong = sizes - (searches.right()[asked] & searched).sum(axis=1)
    missed = np.ones(len(asked))
    for drawn in range(k):
        missed *= np.maximum(wrong - drawn, 0) / np.maximum(sizes - drawn, 1)
    return 1 - missed


def to_markdown(content: Table) -> str:
    """Return the tables: a line per row, with R@1 and R@5 by source."""
    lines = [f"weights of the gradient, R@1: {content['weights']}"]
    for index in (UNSEEN, WHOLE):
        sources = content[index]
        for column in next(iter(sources.values())):
            lines += ["", f"{index}, {column}: R@1, R@5, R@1 less that of the caption by the VLM", ""]
            lines += [f"| row | {' | '.join(sources)} |", "|---" * (1 + len(sources)) + "|"]
            for row in next(iter(sources.values()))[column]:
                cells = [describe_cell(sources[source][column][row]) for source in sources]
                lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def describe_cell(cell: Mapping[str, Mapping[str, float]]) -> str:
    """Return the estimates of a row as text."""
    return f"{quote(cell['R@1'])}, {cell['R@5']['value']:.2f}, {quote(cell['difference'], sign='+')}"


if __name__ == "__main__":
    with exit_on_error():
        main()
