"""Captions one by one: a wrong image in a right gallery is seen, and what to do is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.errors import MissingArtifact
from autolora.index.served import open_index
from autolora.index.store import read_vectors
from autolora.models import ClipTextEncoder
from autolora.search.retriever import Retriever
from autolora.show.caption_agreement import compare_captions
from autolora.show.facts import facts
from autolora.show.lookup import lookup
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import SETTINGS, SyntheticAdapter, make_adapters
from tests.support.tiny_pool import RULES

pytestmark = pytest.mark.slow


@pytest.fixture
def adapters() -> list[SyntheticAdapter]:
    return make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))


def test_wrong_image_of_a_right_gallery_comes_first(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    mixed = with_captions_of(adapters[0], adapters[-1], images=1)
    write_hybrid(tmp_path, text_encoder, [mixed, *adapters[1:]])
    retriever = Retriever(open_index(tmp_path), text_encoder, SETTINGS)
    rows = compare_captions(retriever, mixed.sha256, mixed.captions)
    wrong = mixed.listing.renderings[0].sha256
    assert [row.image == wrong for row in rows] == [True, True, False, False]
    assert {row.text for row in rows} == {caption.text for caption in mixed.captions}
    names, weights = read_vectors(tmp_path, "weights_vector")
    vectors = retriever.embed_all([row.text for row in rows])
    alone = weights[names.index(mixed.sha256)]
    alone = alone / np.linalg.norm(alone)
    assert np.allclose([row.weights for row in rows], vectors @ alone, atol=1e-6)
    others = vectors[2:].sum(axis=0)
    assert rows[0].others == pytest.approx(vectors[0] @ others / np.linalg.norm(others), abs=1e-5)


def test_single_image_has_no_others(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    retriever = Retriever(open_index(tmp_path), text_encoder, SETTINGS)
    rows = compare_captions(retriever, adapters[0].sha256, adapters[0].captions[:2])
    assert [row.others for row in rows] == [None, None]


def test_adapter_outside_the_index_is_an_error(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters[1:])
    retriever = Retriever(open_index(tmp_path), text_encoder, SETTINGS)
    with pytest.raises(MissingArtifact, match="does not contain"):
        compare_captions(retriever, adapters[0].sha256, adapters[0].captions)


def test_facts_state_the_verdict_and_what_to_do(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    name, label = adapters[0].listing.id, "captions and weights"
    agreeing = facts(lookup(tmp_path, name, RULES))[label]
    assert agreeing.startswith("captions agree with the weights (cosine ") and "Look at" not in agreeing
    swapped = with_captions_of(adapters[0], adapters[-1])
    write_hybrid(tmp_path, text_encoder, [swapped, *adapters[1:]])
    text = facts(lookup(tmp_path, name, RULES))[label]
    assert text.startswith("captions disagree with the weights (cosine ")
    assert "they are not used in searches. Look at the renderings" in text
    write_hybrid(tmp_path, text_encoder, [replace(swapped, captions=()), *adapters[1:]])
    assert label not in facts(lookup(tmp_path, name, RULES))
