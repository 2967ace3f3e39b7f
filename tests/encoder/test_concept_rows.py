"""The rows of concepts, and an encoder that learns from them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.concepts.shards import save_gradient
from autolora.concepts.store import Concept, Concepts, images_path, phrases_path
from autolora.encoder import store as encoder_store
from autolora.encoder.concept_rows import make_concept_rows
from autolora.encoder.config import EncoderConfig, LearnedFrom
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import sketch
from autolora.models import ClipTextEncoder
from autolora.storage.arrays import Float64Array
from autolora.storage.files import write_rows
from autolora.storage.incremental import write_digest
from tests.support.synthetic_repo import (
    SLOTS,
    SPEC,
    THEMES,
    encoder_params,
    make_adapters,
    make_lora,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_repository,
)

VECTORS = {"a red cat": [1.0, 0.0, 0.0], "a blue cat": [0.0, 1.0, 0.0], "a house": [0.0, 0.0, 1.0]}
CAPTIONS = ("a red cat", "a blue cat", "a house", "a house")


def test_targets_are_unit_means_of_captions_less_the_mean_over_images() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> Float64Array:
        asked.extend(texts)
        return np.array([VECTORS[text] for text in texts])

    concepts = Concepts(
        (Concept("cat", CAPTIONS[:2], frozenset({"f"})), Concept("house", CAPTIONS[2:], frozenset())),
        torch.ones(2, 3, 4, 4),
        CAPTIONS,
    )
    rows = make_concept_rows(concepts, embed)
    cat = np.array([0.5, 0.5, 0.0]) - np.array([0.25, 0.25, 0.5])
    assert np.allclose(rows.targets, [cat / np.linalg.norm(cat), -cat / np.linalg.norm(cat)])
    assert list(rows.families) == [frozenset({"f"}), frozenset()]
    assert torch.equal(rows.gradients, concepts.rows)
    assert sorted(asked) == sorted(VECTORS)


@pytest.fixture
def text_encoder(tmp_path: Path) -> ClipTextEncoder:
    return tiny_text_encoder(tmp_path / "text_encoder")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with a dataset."""
    write_repository(tmp_path, make_adapters())
    write_dataset(tmp_path)
    return tmp_path


def write_concepts(
    root: Path, themes: Sequence[str] = THEMES, digest: str = "1", size: int = SPEC.size
) -> None:
    """Write two images per theme, as the stage `concepts` does; their gradients are updates of adapters."""
    rows = []
    for number, theme in enumerate(theme for theme in themes for _ in range(2)):
        update = sketch(make_lora(theme, 100 + number), SLOTS, SPEC).values[:, :size, :size]
        save_gradient(root, f"key{number}", update)
        row = {
            "sha256": f"{number}",
            "caption": f"a {theme} drawing",
            "source": f"{number}.png",
            "families": [],
        }
        rows.append(row | {"gradient": f"key{number}"})
    images_path(root).parent.mkdir(parents=True, exist_ok=True)
    write_rows(images_path(root), rows)
    phrases = [{"phrase": theme, "images": [2 * row, 2 * row + 1]} for row, theme in enumerate(themes)]
    write_rows(phrases_path(root), phrases)
    write_digest(root, "concepts", {"images": digest}, schema=1)


def config_of(root: Path) -> EncoderConfig:
    return encoder_store.load_encoder(encoder_store.folder(root)).config


def test_an_encoder_states_what_it_has_learned_from(root: Path, text_encoder: ClipTextEncoder) -> None:
    write_encoder(root, text_encoder, encoder_params())
    alone = config_of(root).learned_from
    assert alone is not None and alone.adapters > 0
    assert alone == LearnedFrom(
        adapters=alone.adapters, concepts=0, images=0, concepts_digest=None, concept_weight=0.0
    )
    write_concepts(root)
    write_encoder(root, text_encoder, encoder_params(concepts=True))
    learned_from = config_of(root).learned_from
    assert learned_from is not None and learned_from.concepts_digest
    assert (learned_from.adapters, learned_from.concepts, learned_from.images) == (alone.adapters, 6, 12)
    assert learned_from.concept_weight > 0


def test_only_an_encoder_that_learns_from_concepts_depends_on_them(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    without = write_encoder(root, text_encoder, encoder_params())
    write_concepts(root)
    assert write_encoder(root, text_encoder, encoder_params()) == without
    first = write_encoder(root, text_encoder, encoder_params(concepts=True))
    write_concepts(root, digest="2")
    assert write_encoder(root, text_encoder, encoder_params(concepts=True)) not in (first, without)


def test_no_concepts_are_reported_and_change_nothing(
    root: Path, text_encoder: ClipTextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    write_encoder(root, text_encoder, encoder_params())
    alone = encoder_store.load_encoder(encoder_store.folder(root)).state_dict()
    write_concepts(root, themes=())
    with caplog.at_level(logging.WARNING, "autolora"):
        write_encoder(root, text_encoder, encoder_params(concepts=True))
    assert "learns from adapters only" in caplog.text
    for name, tensor in encoder_store.load_encoder(encoder_store.folder(root)).state_dict().items():
        assert torch.equal(tensor, alone[name]), name


def test_concepts_must_have_been_made_for_the_same_sketches(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    with pytest.raises(MissingArtifact, match="stage 'concepts' has not run"):
        write_encoder(root, text_encoder, encoder_params(concepts=True))
    write_concepts(root, size=SPEC.size // 2)
    with pytest.raises(MismatchError, match=r"shape \(\d+, 8, 8\).*dvc repro concepts"):
        write_encoder(root, text_encoder, encoder_params(concepts=True))


def test_a_config_from_before_concepts_is_one_without(root: Path, text_encoder: ClipTextEncoder) -> None:
    write_encoder(root, text_encoder, encoder_params())
    content = config_of(root).to_json()
    del content["learned_from"], content["variant"]["concepts"]
    config = EncoderConfig.from_json(content)
    assert config.learned_from is None and not config.variant.concepts
