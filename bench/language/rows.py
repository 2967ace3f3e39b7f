"""The rows of the table: former and present way, ablations and baselines, and the falsifications of the present way."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autolora.evaluation.benchmark import read_renderings, unseen_queries
from autolora.matching.words import STOP_WORDS
from bench.language import pools
from bench.language.pools import Captions
from bench.language.project import Project
from bench.language.prompts import Prompt, halves, read_lines, read_phrases
from bench.language.scoring import COLUMNS, Answers, Column, answer
from bench.language.variants import E5, RANDOM_WORDS, Variant, whole, with_stop_words
from bench.language.ways import Whole, Words

PRESENT, PLAIN = "R", "S"
VARIANTS: Mapping[str, Variant] = {
    "MiniLM, whole prompt": Variant(split=whole),
    PLAIN: Variant(is_cosine=True),
    PRESENT: Variant(),
    "R, 24 stop words": Variant(split=with_stop_words(STOP_WORDS)),
    "R, no stop words": Variant(split=with_stop_words(frozenset())),
    "random words": Variant(sentences=RANDOM_WORDS),
    E5: Variant(sentences=E5),
    "R, background without themes": Variant(phrases=read_phrases("background_without_themes.txt")),
    "R, background of half of the themes": Variant(phrases=read_phrases("background_half_themes.txt")),
}
SHIPPED, BM25 = "shipped", "BM25 of captions"
SLOW, MAX_SLOW = ("MiniLM, whole prompt", E5), 60
"""rows for which every third prompt is measured of a kind that has more, other words excepted"""
OTHER_WORDS = ("other words", "new words")
DRAWS = 4
"""of the half of the themes that has no captions"""
CAPTIONED = {True: "captioned", False: "uncaptioned"}
FIRST_HITS: Mapping[str, Column] = {name: column for name, column in COLUMNS.items() if column[1] == "first"}
_LABELS: Mapping[str, Column] = {
    "singles": ("single", "exact"),
    "singles R@1": ("single", "first"),
    "captions R@1": ("caption", "first"),
}
POOL_COLUMNS: Mapping[str, Column] = {
    **{
        f"{label}, {captioned}": (f"{kind}, {captioned}", metric)
        for captioned in CAPTIONED.values()
        for label, (kind, metric) in _LABELS.items()
    },
    **{name: COLUMNS[name] for name in ("base: nothing", "theme removed: nothing", "unrelated: nothing")},
}


def rows(project: Project) -> dict[str, Callable[[], Answers]]:
    """Return the rows of the table by name; each is measured when it is called."""
    free = ("R, free captions", "R, free captions alone")
    return {
        SHIPPED: partial(_answer_whole, project),
        **{name: partial(_answer_variant, project, name) for name in VARIANTS},
        BM25: partial(_answer_words, project),
        **{f"R, fitted to the other themes, {n + 1}": partial(_answer_half, project, n) for n in (0, 1)},
        **{name: partial(_answer_free, project, name == free[1]) for name in free},
    }


def _answer_whole(project: Project) -> Answers:
    pool = project.pool(project.present.language, project.served)
    way = Whole(project.index, pool, project.embed, project.params.retrieval)
    return answer(way, project.prompts, project.contexts)


def _answer_variant(project: Project, name: str) -> Answers:
    variant = VARIANTS[name]
    reading = project.present if name == PRESENT else project.read(variant, project.inputs)
    pool = project.pool(reading.language, project.served, variant.sentences)
    return project.answer(reading, pool, thinned(project.prompts) if name in SLOW else project.prompts)


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


def _answer_half(project: Project, number: int) -> Answers:
    """Return the answers to prompts for one half of the themes, in an index of these, by a fit to the other half."""
    both = halves(project.kinds, project.params.seed)
    fitted, tested = both[number], both[1 - number]
    reading = project.read(VARIANTS[PRESENT], project.inputs.of_themes(fitted))
    pool = project.pool(reading.language, project.served).restricted(project.of_themes(tested))
    return project.answer(reading, pool, project.prompts_for(tested))


def _answer_free(project: Project, alone: bool) -> Answers:
    """Return the answers of an index in which some adapters have one caption as people write it, and no other.

    alone: only these adapters can be found, and only prompts for their themes count.
    """
    free = {row["image"]: row["text"] for row in read_lines("free_captions.jsonl")}
    captions = pools.with_free(project.served, free)
    pool = project.pool(project.present.language, captions)
    if not alone:
        return project.answer(project.present, pool, project.prompts)
    changed = np.array([not free.keys().isdisjoint(row) for row in captions], np.bool_)
    themes = {theme for theme, is_free in zip(project.themes, changed, strict=True) if is_free}
    return project.answer(project.present, pool.restricted(changed), project.prompts_for(themes))


def measure_pools(project: Project) -> dict[str, Answers]:
    """Return the answers of the present way with other captions in the index."""
    seed, themes = project.params.seed, project.themes
    swapped = pools.exchanged(project.captions, themes, seed)
    captions: dict[str, list[list[Captions]]] = {
        "all captions": [project.served],
        "one caption per adapter": [pools.one_each(project.served, seed)],
        "half of the themes without": [
            pools.without_half(project.served, themes, draw) for draw in range(DRAWS)
        ],
        "no captions": [[{} for _ in themes]],
        "exchanged, all trusted": [swapped],
        "exchanged, checked": [
            pools.agreeing(
                swapped, project.index, project.rule, project.embed, project.present.language.min_length
            )
        ],
    }
    return {
        name: _joined([_answer_pool(project, drawn) for drawn in draws]) for name, draws in captions.items()
    }


def _answer_pool(project: Project, captions: Sequence[Captions]) -> Answers:
    """Return the answers to prompts for one thing, for nothing, and to captions of adapters unseen in training."""
    pool = project.pool(project.present.language, captions)
    asked = [prompt for prompt in project.prompts if prompt.kind in ("single", "none", "absent", "unrelated")]
    asked += caption_prompts(project)
    answers = project.answer(project.present, pool, asked)
    named = [
        replace(prompt, kind=f"{prompt.kind}, {CAPTIONED[pool.is_captioned(prompt)]}")
        if prompt.kind in ("single", "caption")
        else prompt
        for prompt in asked
    ]
    return replace(answers, prompts=named)


def caption_prompts(project: Project) -> list[Prompt]:
    """Return the captions that the stage `evaluation` asks for, each without the other captions of its image."""
    by_adapter = dict(zip((row["sha256"] for row in project.index.rows), project.themes, strict=True))
    queries = unseen_queries(project.root, read_renderings(project.root), "test")
    themes = [frozenset(by_adapter[adapter] for adapter in query.adapters) for query in queries]
    return [
        Prompt("caption", query.text, wanted, min(wanted), image=query.image)
        for query, wanted in zip(queries, themes, strict=True)
    ]


def _joined(drawn: Sequence[Answers]) -> Answers:
    """Return the answers of several draws together."""
    return Answers(
        [prompt for answers in drawn for prompt in answers.prompts],
        {
            context: [choice for answers in drawn for choice in answers.choices[context]]
            for context in drawn[0].choices
        },
    )
