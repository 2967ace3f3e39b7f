"""The rows of the table: the present way, ablations and baselines."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.language.project import Project
from bench.language.prompts import Prompt
from bench.language.scoring import COLUMNS, Answers, Column, answer
from bench.language.variants import RANDOM_WORDS, Variant, whole
from bench.language.ways import Whole, Words

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
