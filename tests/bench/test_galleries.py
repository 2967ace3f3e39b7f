"""Exchanged galleries are measured, with gradients that are the updates of the adapters that images show."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from autolora.gallery_check import read_galleries
from autolora.pool import store as pool
from bench.galleries import exchanged, measure
from tests.support.synthetic_repo import make_adapters, write_dataset, write_images, write_repository


def test_exchanged_galleries_are_told_from_right_ones(tmp_path: Path) -> None:
    adapters = make_adapters()
    write_repository(tmp_path, adapters)
    write_images(tmp_path, adapters)
    write_dataset(tmp_path)
    galleries = read_galleries(tmp_path)
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    shown = {image: gallery.sha256 for gallery in galleries.values() for image, _ in gallery.images}

    def gradient_of(images: Sequence[str]) -> Tensor:
        return torch.stack([pool.load_sketch(tmp_path, shown[image]).values for image in images])

    values = {row.name: row.value for row in measure(tmp_path, galleries, themes, gradient_of)}
    assert values == {"galleries.auc": 1.0, "galleries.right_fit": 1.0, "galleries.exchanged_fit": 0.0}


def test_images_are_exchanged_with_those_of_another_theme(tmp_path: Path) -> None:
    adapters = make_adapters(authors=(0, 1))
    write_repository(tmp_path, adapters)
    write_images(tmp_path, adapters)
    write_dataset(tmp_path)
    galleries = list(read_galleries(tmp_path).values())
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    for position, gallery in enumerate(galleries):
        assert themes[exchanged(galleries, position, themes).sha256] != themes[gallery.sha256]
