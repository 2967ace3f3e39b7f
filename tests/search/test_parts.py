"""Search by the parts of a prompt: the order of hits, selections, filters, and what a survey says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autolora.encoder.everyday import EVERYDAY_PHRASES
from autolora.index.copies import Index, Rows, TextMap
from autolora.index.store import CAPTION, EXACT_COLUMNS, TEXTS_TRUST
from autolora.index.store import WORDS as WORDS_COLUMN
from autolora.params import RetrievalParams
from autolora.records import Hit
from autolora.search.retriever import Retriever
from autolora.search.survey import NO_RELEVANCE, NOTHING_FOUND, ONLY_EXCLUDES, Survey, group_hits
from autolora.storage.files import Row
from autolora.text_encoder.sentences import SentenceEncoder
from tests.support.synthetic_repo import SETTINGS
from tests.support.tiny_sentences import WordSums, plain_language, tiny_sentence_encoder

WORDS = WordSums(128)
"""the text encoder: its vectors of prompts are compared with those of weights"""


@dataclass(frozen=True)
class Known:
    """An adapter of the index; without a caption, it is found by its weights, and by what is said about it."""

    id: str
    theme: str
    has_captions: bool = True
    text: str = ""
    trust: float = 30.0
    trigger_words: tuple[str, ...] = ()
    license: str = "mit"


ADAPTERS = (
    Known("ann/p1", "pixel"),
    Known("bob/p2", "pixel", license="other"),
    Known("ann/c", "chalk", trigger_words=("zqchalk",)),
    Known("bob/n", "neon", license="other", trigger_words=("zqneon",)),
    Known("cid/w", "watercolour", has_captions=False),
    Known("cid/l", "linocut", has_captions=False),
)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceEncoder, Path]:
    folder = tmp_path_factory.mktemp("sentences") / "tiny"
    return tiny_sentence_encoder(folder), folder


Sentences = tuple[SentenceEncoder, Path]


def index_of(sentences: Sentences, adapters: Sequence[Known] = ADAPTERS) -> Index:
    """Return an index of adapters whose captions or weights say their theme."""
    encoder, folder = sentences
    shared = WORDS.encode([""])[0]
    text_map = TextMap(0 * shared, np.eye(len(shared), dtype=np.float32) - np.outer(shared, shared))
    themes = [known.theme for known in adapters]
    length = float(np.linalg.norm(text_map.project(WORDS.encode(themes or [""])), axis=1).min())
    language = replace(plain_language(encoder), everyday_length=length)
    rows: list[Row] = [
        dict.fromkeys(EXACT_COLUMNS) | {
            "sha256": f"{number:064x}", "hub": "folder", "id": known.id, "file": f"{known.id}.safetensors",
            "license": known.license, "nsfw": False, "drawn": False, "trigger_words": list(known.trigger_words),
        }
        for number, known in enumerate(adapters)
    ]  # fmt: skip
    has_captions = [known.has_captions for known in adapters]
    columns = pa.Table.from_pylist(rows, pa.schema(list(EXACT_COLUMNS.items())))
    texts = [known.text for known in adapters]
    for name, values in (
        ("uses_captions", pa.array(has_captions, pa.bool_())),
        (TEXTS_TRUST, pa.array([known.trust for known in adapters], pa.float32())),
        (WORDS_COLUMN, pa.array([text.split() for text in texts], pa.list_(pa.string()))),
        (CAPTION, pa.array([known.theme if known.has_captions else None for known in adapters])),
    ):
        columns = columns.append_column(name, values)
    spoken = language.captions.said(encoder.encode(themes)) * np.array(has_captions, np.float32)[:, None]
    written = [language.texts.mean(encoder.encode([text] if text else [])) for text in texts]
    vectors = text_map.apply(WORDS.encode(themes))
    return Index(
        "digest", 0.3 * vectors, Rows(columns), "encoder", WORDS.digest, text_map, spoken,
        np.array(written, np.float32).reshape(spoken.shape), np.array(written, np.float32).reshape(spoken.shape),
        language, folder,
    )  # fmt: skip


def retriever_of(index: Index, **params: float) -> Retriever:
    retrieval = replace(RetrievalParams(k=6, max_selected=3, min_relevance=0.6), **params)  # type: ignore[arg-type]
    return Retriever(index, WORDS, replace(SETTINGS, retrieval=retrieval))


@pytest.fixture
def retriever(sentences: Sentences) -> Retriever:
    return retriever_of(index_of(sentences))


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_each_thing_that_a_prompt_asks_for_selects_one_adapter(retriever: Retriever) -> None:
    hits = retriever.select("please, a chalk whale; in pixel. I need it as watercolour")
    assert {hit.id[-2:]: hit.part for hit in hits} == {"/c": "chalk", "p1": "pixel", "/w": "watercolour"}
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert all(hit.relevance and hit.relevance > 0.6 and hit.score > 0.8 for hit in hits)
    assert ids(retriever.select("a whale by the sea")) == [] == ids(retriever.select("of the"))
    (alone,), (within,) = (
        retriever.judge(text, [2]) for text in ("chalk", "with a whale, zq, of chalk at sea")
    )
    assert alone.relevance == pytest.approx(within.relevance, abs=1e-6), "whatever is around it"


def test_hits_are_the_named_the_selected_and_then_the_others_as_the_retriever_orders_them(
    retriever: Retriever,
) -> None:
    prompt = "zqneon, in pixel and chalk"
    hits = retriever.search(prompt)
    assert sorted(ids(hits)) == sorted(known.id for known in ADAPTERS)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
    named, *others = hits
    assert (named.id, named.exact) == ("bob/n", "trigger word zqneon")
    assert named.relevance is None and named.part is None
    selected = ids(retriever.select(prompt))
    assert sorted(selected) in (["ann/c", "ann/p1"], ["ann/c", "bob/p2"]) and ids(others[:2]) == selected
    assert others[2].part == "pixel" and not any(hit.exact for hit in others)
    order = dict(zip((known.id for known in ADAPTERS), retriever.answer(prompt).order(), strict=True))
    values = [order[hit.id] for hit in others[2:]]
    assert values == sorted(values, reverse=True) and ids(retriever.search(prompt, 2)) == ids(hits[:2])
    assert ids(retriever.search(prompt, where="id != 'bob/n'")) == ids(others)
    assert retriever.named(prompt, ["bob/n"])[0].relevance is None


def test_unsure_adapters_have_half_the_relevance_that_is_needed(sentences: Sentences) -> None:
    index = index_of(sentences)
    (chalk,) = retriever_of(index).select("chalk")
    assert chalk.relevance is not None
    for needed, sure, unsure in ((0.99, 1, 1), (1.01, 0, 1), (1.99, 0, 1), (2.01, 0, 0)):
        retriever = retriever_of(index, min_relevance=needed * chalk.relevance)
        hits, more = retriever.select("chalk"), retriever.select("chalk", unsure=True)
        assert (len(hits), len(more)) == (sure, unsure) and retriever.choose("chalk", unsure=True) == more


def test_a_filter_hides_adapters_from_the_search_and_the_survey_counts_them(retriever: Retriever) -> None:
    condition = "license = 'mit'"
    assert ids(retriever.select("pixel, neon", condition)) == ["ann/p1"]
    assert ids(retriever.search("pixel, neon", where=condition))[0] == "ann/p1"
    survey = retriever.survey("pixel, neon", condition, retriever.select("pixel, neon", condition))
    assert (survey.unanswered, survey.hidden, survey.num_hidden) == ((), ("neon",), 2)
    assert survey.lines == ["hidden by the filters: 2 adapters that would fit, for: neon"]
    for all_pass in (None, "id LIKE '%/p_' OR id = 'bob/n'"):
        hits = retriever.select("pixel, neon", all_pass)
        assert retriever.survey("pixel, neon", all_pass, hits) == Survey()
    nothing = retriever.survey("pixel", "license = 'none'")
    assert (nothing.unanswered, nothing.num_hidden) == ((), 2)


def test_parts_that_no_adapter_answers_are_named_the_nearest_first(retriever: Retriever) -> None:
    survey = retriever.survey("a chalk whale, with monks; a giraffe. The goose, an old trophy, please")
    assert {row.part for row in survey.unanswered} == {"whale", "monks", "giraffe", "goose", "old trophy"}
    relevance = [row.relevance for row in survey.unanswered]
    assert relevance == sorted(relevance, reverse=True) and relevance[0] < 0.3
    for row in survey.unanswered:
        judged = {f"{hit.hub}:{hit.id}": hit.relevance for hit in retriever.search(row.part)}
        assert judged[row.nearest] == max(value for value in judged.values() if value is not None)
    assert survey.lines[3:] == ["nor 2 other parts of the prompt", "further hits may fit: chalk"]
    first = survey.unanswered[0]
    words = f"nothing clearly fits: {first.part}"
    assert survey.lines[0] == first.line == words, "nothing is near"
    assert replace(first, relevance=0.26).line == f"{words} (nearest: {first.nearest}, 0.26)"


def test_a_prompt_of_which_nothing_is_found_names_the_first_hit_and_asks_for_english(
    retriever: Retriever,
) -> None:
    prompt = "ein roter Wal mit Hut"
    survey = retriever.survey(prompt)
    assert [row.part for row in survey.unanswered] == [prompt]
    first = retriever.search(prompt)[0]
    assert survey.unanswered[0].nearest == f"{first.hub}:{first.id}"
    assert survey.lines[1:] == [NOTHING_FOUND]
    assert NOTHING_FOUND not in retriever.survey("a chalk whale").lines


def test_if_none_is_sure_adapters_that_are_known_by_weights_alone_are_listed_apart(
    sentences: Sentences,
) -> None:
    retriever = retriever_of(index_of(sentences), min_relevance=0.999)
    survey = retriever.survey("watercolour")
    assert survey.perhaps == ("folder:cid/w",)
    assert "perhaps, by their weights: folder:cid/w" in survey.lines
    assert retriever.survey("watercolour", "id != 'cid/w'").perhaps == (), "weights speak for no other one"
    assert retriever_of(index_of(sentences)).survey("watercolour").perhaps == (), "one is sure"
    assert retriever.survey("bob/n").perhaps == (), "the prompt names one"
    described = [known for known in ADAPTERS if known.has_captions]
    assert retriever_of(index_of(sentences, described), min_relevance=0.999).survey("chalk").perhaps == ()


def test_a_word_that_no_text_has_gets_the_one_that_it_resembles(sentences: Sentences) -> None:
    said = [replace(ADAPTERS[0], text="lantern harbor"), *ADAPTERS[1:]]
    survey = retriever_of(index_of(sentences, said)).survey("pixel, two lanterrns; harbour, a whale, cart")
    assert survey.meant == (("lanterrns", "lantern"),)
    assert "nothing says 'lanterrns' (did you mean 'lantern'?)" in survey.lines
    assert retriever_of(index_of(sentences)).survey("lanterrns").meant == (), "no text has words"


def test_words_of_captions_are_said(sentences: Sentences) -> None:
    survey = retriever_of(index_of(sentences)).survey("pxiel; pixle pixel")
    assert survey.meant == (("pxiel", "pixel"), ("pixle", "pixel"))


def test_a_prompt_that_only_excludes_finds_nothing_but_names(retriever: Retriever) -> None:
    survey = retriever.survey("no pixel or neon")
    assert (retriever.search("no pixel or neon"), retriever.select("no pixel or neon")) == ([], [])
    assert survey.lines == ["left out, as negated: pixel, neon", ONLY_EXCLUDES]
    assert [hit.part for hit in retriever.select("chalk, but no pixel, neon or watercolour")] == ["chalk"]


def test_the_order_of_hits_does_not_read_what_is_negated(retriever: Retriever) -> None:
    def order(prompt: str) -> list[tuple[str, float]]:
        return [(hit.id, hit.score) for hit in retriever.search(prompt)]

    assert order("a chalk whale") == order("a chalk whale without pixel or neon")


def test_unknown_characters_resemble_nothing_and_are_found_by_shared_words(sentences: Sentences) -> None:
    said = [Known("ann/p1", "pixel", text="毛毡"), Known("bob/p2", "chalk", text="毛"), *ADAPTERS[3:]]
    first, *others = retriever_of(index_of(sentences, said)).search("毛毡")
    assert first.id == "ann/p1" and all((hit.relevance or 0) < NO_RELEVANCE for hit in others)


def test_what_a_prompt_excludes_names_nothing(retriever: Retriever) -> None:
    hits = retriever.search("a pixel whale\nNegative prompt: zqneon, chalk")
    assert not any(hit.exact for hit in hits) and hits[0].part == "pixel"
    assert ids(retriever.select("pixel, masterpiece, 4k --no neon, chalk")) == [hits[0].id]


def test_what_only_further_hits_answer_and_what_is_negated_is_said(retriever: Retriever) -> None:
    hits = retriever.select("pixel, neon but no chalk")
    assert "ann/c" not in ids(hits) and len(hits) == 2
    assert retriever.survey("pixel, neon but no chalk", None, hits).lines == ["left out, as negated: chalk"]
    by_part = {hit.part: hit for hit in hits}
    survey = retriever.survey("pixel, neon", None, [by_part["neon"]])
    assert (survey.further, survey.lines) == (("pixel",), ["further hits may fit: pixel"])
    nothing = retriever.search("no chalk")
    assert all(hit.relevance is not None and hit.relevance < 0.3 for hit in nothing)


@pytest.mark.parametrize(
    ("prompt", "where", "unanswered"),
    [
        ("bob/n", None, []),
        ("Bob", None, []),
        ("zqneon", None, []),
        ("zqneon", "id != 'bob/n'", ["zqneon"]),
        ("zqneon, a word of the author", None, ["word", "author"]),
        ("- - of --", None, []),
        ("of the", None, []),
    ],
)
def test_words_that_name_an_adapter_are_answered(
    retriever: Retriever, prompt: str, where: str | None, unanswered: list[str]
) -> None:
    rows = retriever.survey(prompt, where).unanswered
    assert sorted(row.part for row in rows) == sorted(unanswered)


def test_adapters_are_compared_by_captions_or_by_weights_alone(sentences: Sentences) -> None:
    """One caption lane, one of weights, or both; the vectors of the others do not count."""
    index = index_of(sentences)
    assert ids(retriever_of(index).select("watercolour")) == ["cid/w"]
    swapped = index.weights_vectors.copy()
    swapped[[0, 4]] = swapped[[4, 0]]
    moved = retriever_of(replace(index, weights_vectors=swapped))
    assert (ids(moved.select("watercolour")), ids(moved.select("chalk"))) == ([], ["ann/c"])
    by_weights = [replace(known, has_captions=False) for known in ADAPTERS]
    for adapters in (ADAPTERS[:4], by_weights):
        retriever = retriever_of(index_of(sentences, adapters))
        assert ids(retriever.select("a whale in chalk")) == ["ann/c"]
        assert len(retriever.search("a chalk whale")) == len(adapters)
    empty = retriever_of(index_of(sentences, ()))
    assert empty.search("pixel") == empty.select("pixel") == [] and empty.survey("pixel") == Survey()


def test_texts_select_beside_weights_and_captions(sentences: Sentences) -> None:
    said = [replace(ADAPTERS[2], text="origami"), replace(ADAPTERS[4], text="origami"), ADAPTERS[5]]
    words = {"origami": ["ann/c"], "chalk": ["ann/c"], "watercolour": ["cid/w"]}
    retriever = retriever_of(index_of(sentences, said))
    assert {word: ids(retriever.select(word)) for word in words} == words
    assert ids(retriever.search("origami"))[:2] == ["ann/c", "cid/w"]
    doubted = retriever_of(index_of(sentences, [replace(known, trust=-4.0) for known in said]))
    assert {word: ids(doubted.select(word)) for word in words} == words | {"origami": []}


def test_without_a_language_whole_prompts_are_compared(sentences: Sentences) -> None:
    retriever = retriever_of(replace(index_of(sentences), language=None))
    hits = retriever.search("pixel and chalk")
    assert all(hit.part is None and hit.relevance is None for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert retriever.survey("two monks", "license = 'none'").lines == []


def make_hit(name: str, part: str | None, relevance: float | None, exact: str | None = None) -> Hit:
    return Hit(
        rank=1, score=0.5, relevance=relevance, sha256=name, hub="folder", id=name, file="x", license=None, nsfw=False,
        trigger_words=(), index="i", part=part, exact=exact,
    )  # fmt: skip


def test_hits_are_grouped_by_part_and_those_that_hardly_fit_come_last() -> None:
    named, first = make_hit("a", None, None, "name"), make_hit("b", "pixel", 0.9)
    far, second = make_hit("c", "chalk", 0.29), make_hit("d", "chalk", 0.3)
    also, none = make_hit("e", "pixel", 0.31), make_hit("f", "pixel", 0.0)
    groups = group_hits([named, first, far, second, also, none], min_relevance=0.6)
    assert groups == [
        ("named by the prompt", [named]),
        ("for: pixel", [first, also]),
        ("for: chalk", [second]),
        ("less likely", [far, none]),
    ]
    assert group_hits([far], 0.6) == [("less likely", [far])] and group_hits([], 0.6) == []
    whole = [make_hit("a", None, 0.9), make_hit("b", None, 0.1)]
    assert group_hits(whole, 0.6) == [("", whole)]


def test_everyday_phrases_are_not_about_an_adapter(retriever: Retriever) -> None:
    found = [phrase for phrase in EVERYDAY_PHRASES[300:400] if retriever.select(phrase)]
    assert len(found) <= 5
