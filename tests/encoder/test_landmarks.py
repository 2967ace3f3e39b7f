"""Landmarks: exact features if every row is one, those of the projection on the landmarks otherwise."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from autolora.encoder import landmarks as module
from autolora.encoder.landmarks import Landmarks, Rows, draw_landmarks

COUNT, LENGTH = 11, 30


def draw(count: int, seed: int) -> Tensor:
    return torch.randn(count, LENGTH, generator=torch.Generator().manual_seed(seed))


def rows_of(values: Tensor) -> Rows:
    return Rows(len(values), lambda row: values[row])


def make(values: Tensor, limit: int) -> Landmarks:
    return draw_landmarks(rows_of(values), limit, 0, like=torch.zeros_like(values[0]))


def features(landmarks: Landmarks, values: Tensor) -> Tensor:
    return landmarks.features(rows_of(values))[0]


def test_inner_products_of_features_are_those_of_the_rows_if_all_are_landmarks() -> None:
    values = draw(COUNT, 0)
    found = features(make(values, COUNT), values)
    rows = (values - values.mean(0)).double()
    assert torch.allclose(found @ found.T, rows @ rows.T, atol=1e-4)


@pytest.mark.parametrize("at_once", [2, 128])
def test_with_fewer_landmarks_inner_products_are_those_of_projections_on_them(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    values = draw(COUNT, 0)
    landmarks = make(values, 4)
    drawn = values[list(landmarks.numbers)]
    center = drawn.mean(0)
    rows, drawn = (values - center).double(), (drawn - center).double()
    projected = rows @ torch.linalg.pinv(drawn, rtol=1e-5) @ drawn
    found = features(landmarks, values)
    assert len(landmarks.numbers) == 4
    assert torch.allclose(found @ found.T, projected @ projected.T, atol=1e-4)


def test_weights_of_rows_predict_what_those_of_features_do() -> None:
    values = draw(COUNT, 0)
    landmarks = make(values, 4)
    found = features(landmarks, values)
    solution = torch.randn(found.shape[1], 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = torch.empty(LENGTH, 3)
    landmarks.write_weights(solution, out=weights)
    rows = values - landmarks.center
    assert torch.allclose((rows @ weights).double(), found @ solution, atol=1e-5)


@pytest.mark.parametrize("limit", [4, COUNT])
def test_each_row_is_read_once_and_the_mean_is_that_of_all_rows(limit: int) -> None:
    values, reads = draw(COUNT, 0), Counter[int]()

    def read(row: int) -> Tensor:
        reads[row] += 1
        return values[row]

    rows = Rows(COUNT, read)
    landmarks = draw_landmarks(rows, limit, 0, like=torch.zeros(LENGTH))
    _, mean = landmarks.features(rows)
    assert torch.allclose(mean, values.mean(0), atol=1e-6)
    assert reads == Counter(range(COUNT))


def test_rows_that_depend_on_each_other_have_fewer_features() -> None:
    values = draw(3, 0).double()[torch.arange(COUNT) % 3]
    found = features(make(values, COUNT), values)
    assert found.shape == (COUNT, 2) and bool(found.isfinite().all())
