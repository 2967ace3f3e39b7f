"""The rows of the table: the present way, ablations and baselines."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autolora.index.evidence import EvidenceReader
from autolora.metrics.bootstrap import Estimate, estimates
from bench.language.mixtures import folders, gather, mixtures
from bench.language.pools import Captions, Pool
from bench.language.project import Project
from bench.language.prompts import Prompt
from bench.language.scoring import COLUMNS, RESAMPLES, SEED, Answers, Column, answer
from bench.language.variants import RANDOM_WORDS, Reading, Variant, whole
from bench.language.ways import Choice, Parts, Whole, Words

PRESENT, PLAIN = "R", "S"
VARIANTS: Mapping[str, Variant] = {
    "MiniLM, whole prompt": Variant(split=whole),
    PLAIN: Variant(is_cosine=True),
    PRESENT: Variant(),
    "random words": Variant(sentences=RANDOM_WORDS),
}
WHOLE, BM25 = "weights, whole prompt", "BM25 of captions"
SLOW, MAX_SLOW = "MiniLM, whole prompt", 60
"""row for which every third prompt is measured of a kind that has more, other words excepted"""
OTHER_WORDS = ("other words", "new words")
FIRST_HITS: Mapping[str, Column] = {name: column for name, column in COLUMNS.items() if column[1] == "first"}


def rows(project: Project) -> dict[str, Callable[[], Answers]]:
    """Return the rows of the table by name; each is measured when it is called."""
    return {
        WHOLE: partial(_answer_whole, project),
        **{name: partial(_answer_variant, project, name) for name in VARIANTS},
        BM25: partial(_answer_words, project),
    }


def _answer_whole(project: Project) -> Answers:
    pool = project.pool(project.present.language, project.served)
    kinds = dict(FIRST_HITS.values())
    asked = [prompt for prompt in project.prompts if prompt.kind in kinds]
    return answer(Whole(pool, project.embed), asked, project.contexts)


def _answer_variant(project: Project, name: str) -> Answers:
    variant = VARIANTS[name]
    reading = project.present if name == PRESENT else project.read(variant, project.inputs)
    pool = project.pool(reading.language, project.served, variant.sentences)
    return project.answer(reading, pool, thinned(project.prompts) if name == SLOW else project.prompts)


def thinned(asked: Sequence[Prompt]) -> list[Prompt]:
    """Return every third prompt of a kind that has more than MAX_SLOW, and all in other words or of other kinds."""
    counts, seen, kept = Counter(prompt.kind for prompt in asked), Counter[str](), []
    for prompt in asked:
        if counts[prompt.kind] <= MAX_SLOW or seen[prompt.kind] % 3 == 0 or prompt.kind in OTHER_WORDS:
            kept.append(prompt)
        seen[prompt.kind] += 1
    return kept


def _answer_words(project: Project) -> Answers:
    kinds = dict(FIRST_HITS.values())
    asked = [prompt for prompt in project.prompts if prompt.kind in kinds]
    return answer(Words(project.served, project.themes), asked, project.contexts)


def answer_mixtures(project: Project) -> dict[str, Answers]:
    """Return the answers of the present way in pools by captions and texts."""
    reading, everyone = project.present, np.ones(len(project.themes), np.bool_)
    asked = thinned(project.prompts)
    weights = np.array(project.index.weights_vectors)
    found = {}
    for name, captions, texts in mixtures(project.captions, project.kinds):
        evidence = gather(project.reader, weights, captions, texts)
        found[name] = project.answer(reading, Pool(project.themes, evidence, everyone), asked)
    return found


def answer_folders(project: Project) -> dict[str, dict[str, Estimate]]:
    """Return, for folders whose files people have named, how often names of themes select just their adapters.

    By weights and names, by weights alone, and by names alone, as without an encoder.
    """
    ways: dict[str, tuple[Reading, EvidenceReader, bool]] = {
        "weights and names": (project.present, project.reader, True),
        "weights": (project.present, project.reader, False),
        "names": (
            project.general,
            replace(project.reader, rule=None, language=project.general.language),
            True,
        ),
    }
    found: dict[str, dict[str, Estimate]] = {}
    for way, (reading, reader, has_names) in ways.items():
        choices, clusters = list[Choice](), list[str]()
        for rows, names in folders(project.kinds):
            weights = None if way == "names" else np.array(project.index.weights_vectors)[rows]
            nothing: list[Captions] = [{}] * len(rows)
            texts = names if has_names else [("",)] * len(rows)
            themes = tuple(project.themes[row] for row in rows)
            evidence = gather(reader, weights, nothing, texts)
            parts = Parts(
                reading, Pool(themes, evidence, np.ones(len(rows), np.bool_)), project.params.retrieval
            )
            for theme in sorted(set(themes)):
                choices.append(parts.choose(Prompt("theme", theme, frozenset([theme]), theme), theme))
                clusters.append(theme)
        pairs = list(zip(choices, clusters, strict=True))
        columns = {
            "exact": [choice.used == {theme} for choice, theme in pairs],
            "first": [choice.first == theme for choice, theme in pairs],
            "wrong": [bool(choice.used - {theme}) for choice, theme in pairs],
        }
        values = {name: np.array(column, np.float64) for name, column in columns.items()}
        found[way] = estimates(values, clusters, RESAMPLES, SEED)
    return found
