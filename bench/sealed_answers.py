"""What a method of the sealed test answers to each prompt, and whether that is right."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autolora.metrics import retrieval
from autolora.metrics.benchmark import Benchmark
from autolora.params import RetrievalParams
from autolora.storage.arrays import BoolArray, Float64Array
from bench.concept_tables import Outcome
from bench.hidden_words import Pool
from bench.sealed_methods import Method, for_prompt
from bench.sealed_pool import SealedPrompt, single_themes
from bench.selection import Result, select
from bench.selection_cases import Case
from playground.sealed.prompts import KNOWN_KIND, OTHER_GRAMMAR_KIND, OTHER_WORDS_KIND, UNKNOWN_KIND

DESCRIBED = {"1 rendering": "described 1", "2 renderings": "described 2", "3 renderings": "described 3"}
"""level -> kind of prompt"""
OTHERS = {kind: kind for kind in (OTHER_GRAMMAR_KIND, OTHER_WORDS_KIND, KNOWN_KIND, UNKNOWN_KIND)}
INDEXES: Mapping[str, Mapping[str, str]] = {"described": DESCRIBED, "out of distribution": OTHERS}
UNSEEN, HELD_OUT = "1 rendering, unseen LoRA", "held-out themes"
SINGLE = ("described 1", OTHER_GRAMMAR_KIND, OTHER_WORDS_KIND)
"""kinds of prompts of which a held-out theme is asked at the level HELD_OUT"""
UNDEFINED = float("nan")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a prompt: shares, which are 0 or 1 unless they are chance, or nan if they are undefined."""

    right: float
    """whether the first LoRA fits"""
    right_held_out: float
    """whether the first LoRA has a held-out theme that fits"""
    all_found: float = UNDEFINED
    """whether every theme that the prompt asks for is selected"""
    exact: float = UNDEFINED
    """whether all are, and nothing else"""
    none: float = UNDEFINED
    """whether nothing is selected"""
    confidence: float = UNDEFINED
    """how well the best LoRA fits: its relevance, or its score if the method has no relevance"""


COLUMNS = {"R@1": "right", "all found": "all_found", "exact set": "exact", "none selected": "none"}
"""metric -> field of an answer; at the level HELD_OUT, R@1 is `right_held_out`"""


def answer(
    method: Method, prompts: Sequence[SealedPrompt], held_out: Collection[str], params: RetrievalParams
) -> list[Answer]:
    """Return what a method answers to its prompts, without the texts about the renderings that a prompt describes.

    held_out: themes.
    """
    answers, row = [], 0
    for prompt in prompts:
        benchmark = for_prompt(method.benchmark, row, prompt.images)
        scores = method.make(benchmark)(slice(0, 1))[0]
        result = _select(method, benchmark, prompt, params)
        answers.append(_judge(prompt, scores, result, names_of(benchmark), held_out))
        row += max(1, len(prompt.images))
    return answers


def names_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the theme of each LoRA of a pool; without one, its sha256."""
    return tuple(benchmark.themes.get(sha256, sha256) for sha256 in benchmark.adapters)


def _select(
    method: Method, benchmark: Benchmark, prompt: SealedPrompt, params: RetrievalParams
) -> Result | None:
    if method.relevance is None:
        return None
    vectors, uses_captions = method.candidates(benchmark)
    wanted = np.asarray(benchmark.query_vectors[0], dtype=np.float64)
    among = Pool(vectors, uses_captions, method.relevance, names_of(benchmark), lambda _: wanted)
    return select(Case(prompt.kind, prompt.text, prompt.themes, prompt.subject), among, params)


def _judge(
    prompt: SealedPrompt,
    scores: Float64Array,
    result: Result | None,
    names: Sequence[str],
    held_out: Collection[str],
) -> Answer:
    right, of_held_out = (_is_first(scores, fits) for fits in _fitting(prompt, names, held_out))
    if result is None:
        return Answer(right, of_held_out, confidence=float(scores.max()))
    found = single_themes({*result.used} & prompt.themes)
    has_all = prompt.asked <= found
    return Answer(
        right,
        of_held_out,
        all_found=float(has_all) if prompt.themes else UNDEFINED,
        exact=float(has_all and prompt.themes >= {*result.used}),
        none=float(not result.used),
        confidence=result.relevance[0],
    )


def _fitting(
    prompt: SealedPrompt, names: Sequence[str], held_out: Collection[str]
) -> tuple[BoolArray, BoolArray]:
    """Return which LoRAs (N,) fit a prompt, and which of them have a held-out theme."""
    fits = np.array([name in prompt.themes for name in names], dtype=np.bool_)
    return fits, fits & np.array([name in held_out for name in names], dtype=np.bool_)


def _is_first(scores: Float64Array, fits: BoolArray) -> float:
    """Return whether a fitting LoRA has the best score; ties count against it, nan if none fits or has a score."""
    if not fits.any() or np.isnan(scores[0]):
        return UNDEFINED
    return float(retrieval.ranks(scores[None], [np.flatnonzero(fits)])[0] == 1)


def chance(prompts: Sequence[SealedPrompt], names: Sequence[str], held_out: Collection[str]) -> list[Answer]:
    """Return the expectation of a random order of the LoRAs; it selects nothing."""
    shares = (
        [float(fits.mean()) or UNDEFINED for fits in _fitting(prompt, names, held_out)] for prompt in prompts
    )
    return [Answer(right, of_held_out) for right, of_held_out in shares]


def to_outcome(
    prompts: Sequence[SealedPrompt], answers: Sequence[Answer], training: Collection[str]
) -> Outcome:
    """Return the values of each prompt by set, level and metric. training: sha256 of the training LoRAs."""
    columns, queries = {}, {}
    for index, kinds in INDEXES.items():
        rows = [(prompt, answers[row]) for row, prompt in enumerate(prompts) if prompt.kind in kinds.values()]
        queries[index] = tuple((prompt.subject, prompt.kind, prompt.text) for prompt, _ in rows)
        for level in (*kinds, *([UNSEEN] if index == "described" else []), HELD_OUT):
            for metric in COLUMNS:
                values = [_value(prompt, row, level, metric, kinds, training) for prompt, row in rows]
                columns[index, level, metric] = np.array(values, dtype=np.float64)
    return Outcome(columns, queries)


def _value(
    prompt: SealedPrompt,
    row: Answer,
    level: str,
    metric: str,
    kinds: Mapping[str, str],
    training: Collection[str],
) -> float:
    """Return the value of a prompt at a level; nan if it does not belong there."""
    if level == HELD_OUT:
        is_asked = prompt.kind in SINGLE and not np.isnan(row.right_held_out)
        field = "right_held_out" if metric == "R@1" else COLUMNS[metric]
    elif level == UNSEEN:
        is_asked, field = prompt.kind == "described 1" and prompt.loras.isdisjoint(training), COLUMNS[metric]
    else:
        is_asked, field = prompt.kind == kinds[level], COLUMNS[metric]
    return float(getattr(row, field)) if is_asked else UNDEFINED
