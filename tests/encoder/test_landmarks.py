"""Landmarks: exact features if every row is one, those of the projection on the landmarks otherwise."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from autolora.encoder import landmarks as module
from autolora.encoder.landmarks import Landmarks, Rows, draw_landmarks

ADAPTERS, CONCEPTS, LENGTH = 11, 7, 30


def draw(count: int, seed: int) -> Tensor:
    return torch.randn(count, LENGTH, generator=torch.Generator().manual_seed(seed))


def rows_of(values: Tensor) -> Rows:
    return Rows(len(values), lambda row: values[row])


def make(adapters: Tensor, concepts: Tensor, limit: int) -> Landmarks:
    return draw_landmarks(rows_of(adapters), rows_of(concepts), limit, 0, like=torch.zeros_like(adapters[0]))


def features(landmarks: Landmarks, adapters: Tensor, concepts: Tensor) -> Tensor:
    """Return the features of all rows, adapters first."""
    of_adapters, _ = landmarks.adapter_features(rows_of(adapters))
    return torch.cat([of_adapters, landmarks.concept_features(rows_of(concepts))])


def test_inner_products_of_features_are_those_of_the_rows_if_all_are_landmarks() -> None:
    adapters, concepts = draw(ADAPTERS, 0), draw(CONCEPTS, 1)
    found = features(make(adapters, concepts, ADAPTERS), adapters, concepts)
    rows = torch.cat([adapters - adapters.mean(0), concepts]).double()
    assert torch.allclose(found @ found.T, rows @ rows.T, atol=1e-4)


@pytest.mark.parametrize("at_once", [2, 128])
def test_with_fewer_landmarks_inner_products_are_those_of_projections_on_them(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    adapters, concepts = draw(ADAPTERS, 0), draw(CONCEPTS, 1)
    landmarks = make(adapters, concepts, 4)
    center = adapters[list(landmarks.adapters)].mean(0)
    drawn = torch.cat(
        [adapters[list(landmarks.adapters)] - center, concepts[list(landmarks.concepts)]]
    ).double()
    rows = torch.cat([adapters - center, concepts]).double()
    projected = rows @ torch.linalg.pinv(drawn, rtol=1e-5) @ drawn
    found = features(landmarks, adapters, concepts)
    assert len(landmarks.adapters) == len(landmarks.concepts) == 4
    assert torch.allclose(found @ found.T, projected @ projected.T, atol=1e-4)


def test_weights_of_rows_predict_what_those_of_features_do() -> None:
    adapters, concepts = draw(ADAPTERS, 0), draw(CONCEPTS, 1)
    landmarks = make(adapters, concepts, 4)
    found = features(landmarks, adapters, concepts)
    solution = torch.randn(found.shape[1], 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = torch.empty(LENGTH, 3)
    landmarks.write_weights(solution, out=weights)
    rows = torch.cat([adapters - landmarks.center, concepts])
    assert torch.allclose((rows @ weights).double(), found @ solution, atol=1e-5)


@pytest.mark.parametrize("limit", [4, ADAPTERS])
def test_each_row_is_read_once_and_the_mean_is_that_of_all_adapters(limit: int) -> None:
    adapters, reads = draw(ADAPTERS, 0), Counter[int]()

    def read(row: int) -> Tensor:
        reads[row] += 1
        return adapters[row]

    rows = Rows(ADAPTERS, read)
    landmarks = draw_landmarks(rows, rows_of(adapters[:0]), limit, 0, like=torch.zeros(LENGTH))
    _, mean = landmarks.adapter_features(rows)
    assert torch.allclose(mean, adapters.mean(0), atol=1e-6)
    assert reads == Counter(range(ADAPTERS))


def test_rows_that_depend_on_each_other_have_fewer_features() -> None:
    adapters = draw(3, 0).double()[torch.arange(ADAPTERS) % 3]
    found = features(make(adapters, adapters[:0], ADAPTERS), adapters, adapters[:0])
    assert found.shape == (ADAPTERS, 2) and bool(found.isfinite().all())
