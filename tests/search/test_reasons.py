"""Reasons of a hit: its captions and words, and what is said if they are not those of the index."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.index.served import open_index, release
from autolora.index.store import content_digest, read_vectors
from autolora.models import ClipTextEncoder
from autolora.search.reasons import describe
from autolora.search.retriever import Retriever
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import (
    ENCODER,
    SETTINGS,
    SyntheticAdapter,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

PROMPT = "a drawing of thing 1 in the mosaic style"


@pytest.fixture(scope="module")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder
) -> tuple[Path, list[SyntheticAdapter]]:
    """Return a repository with a released hybrid index of three themes by four authors, and its adapters."""
    root = tmp_path_factory.mktemp("indexed")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(root, text_encoder, adapters)
    release(root, content_digest(root))
    return root, adapters


@pytest.fixture
def root(tmp_path: Path, indexed: tuple[Path, list[SyntheticAdapter]]) -> Path:
    """Return a copy of the indexed repository."""
    return Path(shutil.copytree(indexed[0], tmp_path / "root"))


@pytest.fixture
def adapters(indexed: tuple[Path, list[SyntheticAdapter]]) -> list[SyntheticAdapter]:
    return list(indexed[1])


def test_scores_are_the_cosines_of_weights_and_captions(
    root: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS, root)
    hits = retriever.search(PROMPT, k=5)
    query = retriever.embed(PROMPT)
    names, weights = read_vectors(root, "weights_vector")
    captions = {adapter.sha256: adapter.captions for adapter in adapters}
    for hit, reasons in zip(hits, retriever.reasons(PROMPT, hits), strict=True):
        vectors = retriever.embed_all([caption.text for caption in captions[hit.sha256]])
        total = vectors.sum(axis=0)
        alone = weights[names.index(hit.sha256)]
        alone = alone / np.linalg.norm(alone)
        assert reasons.weights_score == pytest.approx(float(alone @ query), abs=1e-6)
        assert reasons.captions_score == pytest.approx(total @ query / np.linalg.norm(total), abs=1e-5)
        assert hit.score == pytest.approx(reasons.weights_score, abs=1e-6)
        assert reasons.unavailable == ()


def test_nearest_captions_are_the_best_of_each_image(
    root: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS, root)
    hits = retriever.search(PROMPT, k=1)
    (reasons,) = retriever.reasons(PROMPT, hits)
    first, second = reasons.captions
    assert (first.text, first.score) == (PROMPT, pytest.approx(1, abs=1e-5))
    assert second.score < first.score and second.image != first.image
    own = {adapter.sha256: adapter.captions for adapter in adapters}[hits[0].sha256]
    others = [caption.text for caption in own if caption.image == second.image]
    query = retriever.embed(PROMPT)
    assert second.score == pytest.approx(float(max(retriever.embed_all(others) @ query)), abs=1e-5)


def test_words_are_those_of_captions_and_trigger_words_without_stop_words(
    root: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    triggered = replace(adapters[0], listing=replace(adapters[0].listing, trigger_words=("zqMosaic",)))
    write_hybrid(root, text_encoder, [triggered, *adapters[1:]])
    release(root, content_digest(root))
    retriever = Retriever(open_index(root), text_encoder, SETTINGS, root)
    prompt = "ZQMOSAIC, a Drawing of a purple house: the drawing"
    hits = [hit for hit in retriever.search(prompt, k=12) if hit.sha256 == triggered.sha256]
    (reasons,) = retriever.reasons(prompt, hits)
    assert reasons.words == ("zqmosaic", "drawing")


def test_captions_that_disagree_are_shown_as_not_used(
    root: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    swapped = with_captions_of(adapters[0], adapters[-1])
    write_hybrid(root, text_encoder, [swapped, *adapters[1:]])
    release(root, content_digest(root))
    retriever = Retriever(open_index(root), text_encoder, SETTINGS, root)
    hits = [hit for hit in retriever.search(PROMPT, k=12) if hit.sha256 == swapped.sha256]
    (reasons,) = retriever.reasons(PROMPT, hits)
    assert reasons.uses_captions is False
    assert describe(reasons)["cosines"].endswith("(not used: they disagree with the weights)")


def test_captions_of_another_state_are_not_shown(
    root: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    """The index is the released one; the dataset has been written again since."""
    write_repository(root, [with_captions_of(adapters[0], adapters[-1]), *adapters[1:]])
    write_dataset(root)
    retriever = Retriever(open_index(root), text_encoder, SETTINGS, root)
    hits = retriever.search(PROMPT, k=12)
    for hit, reasons in zip(hits, retriever.reasons(PROMPT, hits), strict=True):
        changed = hit.sha256 == adapters[0].sha256
        assert (reasons.captions == ()) == (reasons.captions_score is None) == changed
        assert [("another state" in note) for note in reasons.unavailable] == [True] * changed
    shutil.rmtree(root / "data" / "dataset")
    (reasons,) = retriever.reasons(PROMPT, hits[:1])
    assert reasons.captions == () and "does not contain the table" in reasons.unavailable[0]
    assert "unavailable" in describe(reasons)


def test_no_hits_have_no_reasons(root: Path, text_encoder: ClipTextEncoder) -> None:
    assert Retriever(open_index(root), text_encoder, SETTINGS, root).reasons(PROMPT, []) == []


def test_an_encoder_that_takes_no_captions_is_named(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    write_encoder(tmp_path, text_encoder, replace(ENCODER, variant=replace(ENCODER.variant, steps=3)))
    write_index(tmp_path)
    retriever = Retriever(open_index(tmp_path), text_encoder, SETTINGS, tmp_path)
    (reasons,) = retriever.reasons(PROMPT, retriever.search(PROMPT, k=1))
    assert reasons.uses_captions is None and reasons.captions
    assert describe(reasons)["cosines"].endswith("(not used: the encoder takes no captions)")


def test_without_a_project_reasons_say_that_it_has_captions(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    published = Retriever(open_index(root), text_encoder, SETTINGS)
    (reasons,) = published.reasons(PROMPT, published.search(PROMPT, k=1))
    assert [note.partition(":")[0] for note in reasons.unavailable] == ["captions"]
    assert all("only the project that it was made in" in note for note in reasons.unavailable)
    assert reasons.captions == () and reasons.weights_score > 0
