"""The rows of the sealed test: the answers of all methods, kept on disk, and their tables."""

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from autolora.concepts.store import Concepts
from autolora.dataset.store import training_lock
from autolora.evaluation.benchmark import read_renderings
from autolora.params import EvaluationParams
from autolora.storage.files import read_json, write_atomic
from bench.concept_tables import estimate_rows
from bench.sealed_answers import Answer, answer, chance, to_outcome
from bench.sealed_methods import HYBRID, WEIGHTS, Method, MethodMaker, Methods
from bench.sealed_pool import SealedPool
from bench.sealed_tables import Margins, mislabelled, nothing_fits

CHANCE = "chance"


class SealedRows:
    """Collects the answers of methods, each to the prompts of its repository."""

    def __init__(self, cache: Path, pool: SealedPool, makers: tuple[MethodMaker, ...]) -> None:
        """cache: folder of answers. makers: their prompts together are those of the pool."""
        self.cache, self.pool, self.makers = cache, pool, makers
        self.prompts = [prompt for maker in makers for prompt in maker.prompts]
        self.answers: dict[str, list[list[Answer]]] = {}
        """row -> the answers to all prompts, one per seed"""
        self.margins: dict[str, list[Margins]] = {}
        """hybrid row -> margins of all LoRAs, one per seed"""
        self._add("fixed", lambda maker: maker.fixed)

    def add_seeded(self, seed: int) -> None:
        """Add the methods with random initial weights."""
        self._add(f"seeded-{seed}", lambda maker: maker.seeded(seed))

    def add_concepts(self, name: str, concepts: Concepts, seed: int) -> None:
        """Add the methods that have learned from concepts too. seed: that drew the corpus."""
        self._add(f"{name}-{seed}", lambda maker: maker.with_concepts(name, concepts))

    def _add(self, group: str, make: Callable[[MethodMaker], Methods]) -> None:
        path = self.cache / f"{group.replace(' ', '-').replace(',', '')}.json"
        content = read_json(path)
        if content is None:
            content = self._measure(make)
            write_atomic(path, json.dumps(content))
        for name, rows in content["answers"].items():
            self.answers.setdefault(name, []).append([Answer(*row) for row in rows])
        for name, row in content["margins"].items():
            margins = Margins(tuple(row["adapters"]), np.array(row["values"]), row["threshold"])
            self.margins.setdefault(name, []).append(margins)

    def _measure(self, make: Callable[[MethodMaker], Methods]) -> dict[str, Any]:
        by_maker = [make(maker) for maker in self.makers]
        answers: dict[str, list[Answer]] = {}
        for maker, methods in zip(self.makers, by_maker, strict=True):
            for name, method in methods.items():
                rows = answer(method, maker.prompts, self.pool.held_out, maker.params.retrieval)
                answers.setdefault(name, []).extend(rows)
        margins = {name: to_margins(method) for name, method in by_maker[0].items() if method.is_hybrid}
        return {
            "answers": {name: [astuple(row) for row in rows] for name, rows in answers.items()},
            "margins": margins,
        }

    def tables(self, params: EvaluationParams) -> dict[str, Any]:
        """Return all tables; rows with captions are compared to the hybrid, all others to the weights alone."""
        root, themes = self.makers[0].root, self.makers[0].themes
        training = {row.sha256 for row in training_lock(root).in_split("train")}
        names = [themes.get(sha256, sha256) for sha256 in read_renderings(root)]
        answers = self.answers | {CHANCE: [chance(self.prompts, names, self.pool.held_out)]}
        references = {name: HYBRID if name.startswith(HYBRID) else WEIGHTS for name in answers}
        outcomes = {
            name: [to_outcome(self.prompts, rows, training) for rows in seeds]
            for name, seeds in answers.items()
        }
        retrieval: dict[str, Any] = {}
        for reference in (HYBRID, WEIGHTS):
            rows = {name: outcome for name, outcome in outcomes.items() if references[name] == reference}
            _merge(retrieval, estimate_rows(rows, reference, params))
        wrong = frozenset(lora.sha256 for lora in self.pool.loras if lora.shown != lora.theme)
        everyone = frozenset(lora.sha256 for lora in self.pool.loras)
        return {
            "retrieval": retrieval,
            "nothing fits": nothing_fits(self.prompts, self.answers, references, params),
            "mislabelled": {
                "not trained on": mislabelled(self.margins, wrong, everyone - training, params),
                "all": mislabelled(self.margins, wrong, everyone, params),
            },
        }


def to_margins(method: Method) -> dict[str, Any]:
    """Return the fields of the margins of the LoRAs that have captions."""
    benchmark, rule = method.benchmark, method.benchmark.rule
    assert rule is not None, "a hybrid has a rule"
    rows = np.flatnonzero(benchmark.captions.renderings > 0)
    weights = np.asarray(benchmark.adapter_vectors, dtype=np.float64)[rows]
    captions, exact = benchmark.captions.by_adapter[rows], replace(rule, margin=0.0)
    values = exact.agreements(weights, captions) - exact.expected(weights, captions)
    return {
        "adapters": [benchmark.adapters[row] for row in rows],
        "values": values.tolist(),
        "threshold": rule.margin,
    }


def _merge(tables: dict[str, Any], others: Mapping[str, Any]) -> None:
    """Add the rows of other tables, index by index and level by level."""
    for index, levels in others.items():
        for level, rows in levels.items():
            tables.setdefault(index, {}).setdefault(level, {}).update(rows)
