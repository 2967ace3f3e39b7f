"""The ridge regression: equal to its textbook form, invariant, exact out of fold, and better than chance."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.landmarks import Landmarks, draw_landmarks
from autolora.encoder.model import embed_texts
from autolora.encoder.regression import Regression
from autolora.encoder.ridge import RidgeEncoder, fit_ridge, slot_units
from autolora.errors import MissingArtifact
from autolora.index import store as index
from autolora.presets.encoder import ENCODER
from tests.support.synthetic_repo import (
    CONFIG,
    DATASET,
    SPEC,
    encoder_params,
    make_adapter,
    make_adapters,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

WIDTH, RIDGE = 8, 0.3
FAMILIES = ["a", "a", "b", "c", "c", "c", *"defghi"]


def new_encoder(landmarks: int = 2000, ridge: float = RIDGE) -> RidgeEncoder:
    variant = replace(ENCODER["best"], ridge=ridge, landmarks=landmarks)
    return RidgeEncoder(
        EncoderConfig(
            transformer=CONFIG, variant=variant, width=WIDTH, sketch_size=SPEC.size,
            sketch_key=SPEC.key, text_encoder="t" * 64,
        )
    )  # fmt: skip


@pytest.fixture
def sketches() -> Tensor:
    """Return random sketches (N, S, m, p) of different strengths."""
    generator = torch.Generator().manual_seed(0)
    count = len(new_encoder().config.slots)
    values = torch.randn(len(FAMILIES), count, SPEC.size, SPEC.size, generator=generator)
    return values * torch.rand(len(FAMILIES), count, 1, 1, generator=generator)


@pytest.fixture
def targets() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(len(FAMILIES), WIDTH, generator=generator), dim=-1)


def reader(sketches: Tensor) -> Callable[[str], AdapterBatch]:
    return lambda name: AdapterBatch(
        sketches[int(name)][None], torch.ones(1, sketches.shape[1], dtype=torch.bool)
    )


def fit(encoder: RidgeEncoder, sketches: Tensor, families: list[str], targets: Tensor) -> Tensor:
    names = [str(row) for row in range(len(sketches))]
    return fit_ridge(encoder, names, families, targets, reader(sketches), 0)


def textbook(train: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
    """Return the predictions for queries by kernel ridge regression in float64, relative to the mean target."""
    x, y = (train - train.mean(0)).double(), (targets - targets.mean(0)).double()
    dual = torch.linalg.solve(x @ x.T + RIDGE * torch.eye(len(x), dtype=x.dtype), y)
    return (queries - train.mean(0)).double() @ x.T @ dual


def test_vectors_are_those_of_a_kernel_ridge_regression(sketches: Tensor, targets: Tensor) -> None:
    encoder = new_encoder()
    fit(encoder, sketches, FAMILIES, targets)
    units = slot_units(sketches)
    present, expected = torch.ones(sketches.shape[:2], dtype=torch.bool), textbook(units, targets, units)
    assert torch.allclose(encoder.predict(sketches, present).double(), expected, atol=1e-5)
    unit = torch.nn.functional.normalize(expected, dim=-1)
    assert torch.allclose(encoder.embed(sketches, present).double(), unit, atol=1e-5)


def test_out_of_fold_vectors_are_those_of_a_fit_without_the_family(sketches: Tensor, targets: Tensor) -> None:
    out_of_fold = fit(new_encoder(), sketches, FAMILIES, targets)
    units = slot_units(sketches)
    for row, family in enumerate(FAMILIES):
        others = torch.tensor([other != family for other in FAMILIES])
        expected = textbook(units[others], targets[others], units[row : row + 1])
        assert torch.allclose(out_of_fold[row].double(), expected[0], atol=1e-4)


def test_targets_that_weights_do_not_determine_are_not_predicted_out_of_fold() -> None:
    """Without the family's own mean in the fit: centering by all adapters would give its target away."""
    generator = torch.Generator().manual_seed(3)
    count = len(new_encoder().config.slots)
    sketches = torch.randn(40, count, SPEC.size, SPEC.size, generator=generator)
    goals = torch.nn.functional.normalize(torch.randn(40, WIDTH, generator=generator), dim=-1)
    names = [str(row) for row in range(40)]
    encoder = new_encoder(ridge=1e-3)
    out_of_fold = fit_ridge(encoder, names, names, goals, reader(sketches), seed=0)
    assert abs(float((out_of_fold * (goals - goals.mean(0))).sum(1).mean())) < 0.15


def test_fewer_landmarks_than_adapters_come_close(targets: Tensor) -> None:
    """Adapters that lie near a few directions need only a few landmarks."""
    generator = torch.Generator().manual_seed(2)
    count = len(new_encoder().config.slots)
    directions = torch.randn(4, count, SPEC.size, SPEC.size, generator=generator)
    mixed = torch.randn(60, 4, generator=generator)
    sketches = torch.einsum("nk,ksmp->nsmp", mixed, directions) + 0.01 * torch.randn(
        60, *directions.shape[1:]
    )
    goals = torch.nn.functional.normalize(mixed @ targets[:4], dim=-1)
    families, present = [str(row) for row in range(60)], torch.ones(60, count, dtype=torch.bool)
    exact, approximate = new_encoder(), new_encoder(landmarks=20)
    for encoder in (exact, approximate):
        fit(encoder, sketches, families, goals)
    cosines = (exact.embed(sketches, present) * approximate.embed(sketches, present)).sum(1)
    assert cosines.min() > 0.95


def test_landmarks_are_released_before_the_predictions_out_of_fold(
    sketches: Tensor, targets: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are most of the memory of a fit to many adapters."""
    drawn: list[weakref.ref[Tensor]] = []

    def draw(*args: Any, **options: Any) -> Landmarks:
        landmarks = draw_landmarks(*args, **options)
        drawn.append(weakref.ref(landmarks.values))
        return landmarks

    def out_of_fold(regression: Regression) -> Tensor:
        assert [landmarks() for landmarks in drawn] == [None]
        return regression.targets

    monkeypatch.setattr("autolora.encoder.ridge.draw_landmarks", draw)
    monkeypatch.setattr(Regression, "out_of_fold", out_of_fold)
    assert torch.allclose(fit(new_encoder(), sketches, FAMILIES, targets), targets)


def test_strength_and_missing_slots_count_as_documented(sketches: Tensor, targets: Tensor) -> None:
    encoder = new_encoder()
    fit(encoder, sketches, FAMILIES, targets)
    present = torch.ones(sketches.shape[:2], dtype=torch.bool)
    vectors = encoder.embed(sketches, present)
    strengths = torch.rand(*sketches.shape[:2], 1, 1) + 0.1
    assert torch.allclose(encoder.embed(sketches * strengths, present), vectors, atol=1e-5)
    sketches[:, 0] = 0
    units = slot_units(sketches).unflatten(1, (sketches.shape[1], -1))
    assert units[:, 0].norm() == 0
    assert torch.allclose(units[:, 1:].norm(dim=2), torch.tensor(1 / (sketches.shape[1] - 1) ** 0.5))


@pytest.mark.slow
def test_unseen_adapters_are_near_the_captions_of_their_theme(tmp_path: Path) -> None:
    text_encoder = tiny_text_encoder(tmp_path / "text_encoder")
    adapters = make_adapters(authors=(0, 1, 2, 3, 4, 5))
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    write_encoder(tmp_path, text_encoder, encoder_params())
    write_index(tmp_path, text_encoder=text_encoder)
    names, vectors = index.read_vectors(tmp_path, "weights_vector")
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    encoder = encoder_store.load_encoder(encoder_store.folder(tmp_path))
    assert isinstance(encoder, RidgeEncoder)
    prompts = dataset.prompts(tmp_path)
    texts = embed_texts(encoder, text_encoder, [prompt.text for prompt in prompts])
    nearest = np.argmax(texts @ vectors.T, axis=1)
    correct = [
        themes[names[row]] == themes[prompt.adapter] for row, prompt in zip(nearest, prompts, strict=True)
    ]
    assert len(correct) > 30 and np.mean(correct) > 0.7  # chance is 1/6


def test_one_family_is_too_few(tmp_path: Path) -> None:
    original = make_adapter("mosaic", 0)
    copies = [make_adapter("copy", author, lora=original.lora) for author in range(8)]
    write_repository(tmp_path, [original, *copies])
    write_dataset(tmp_path, replace(DATASET, test_share=0.001))
    with pytest.raises(MissingArtifact, match=r"at least two.*train_until"):
        write_encoder(tmp_path, tiny_text_encoder(tmp_path / "text_encoder"), encoder_params())
