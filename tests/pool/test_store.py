"""Stored sketches and images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autolora.catalog import store as catalog
from autolora.errors import MissingArtifact
from autolora.lora.read import read
from autolora.lora.sketch import cosine, sketch
from autolora.pool import store as pool
from autolora.pool.sketch_packs import open_path
from tests.lora.writing import SLOTS, draw_lora
from tests.pool.site import Site
from tests.support.tiny_pool import BOUNDS, RECIPE


def test_images_are_stored_under_the_hash_of_the_download(filled: Site) -> None:
    (listing, *_) = catalog.read_active(filled.root)
    for rendering in listing.renderings:
        row = pool.renderings(filled.root)[rendering.key]
        assert row.sha256 == rendering.sha256 == rendering.key
        assert (row.width, row.height) == (16, 12)
        assert pool.rendering_path(filled.root, row.sha256).read_bytes().startswith(b"\x89PNG")


def test_a_stored_sketch_equals_the_computed_one(filled: Site) -> None:
    row = filled.adapters()["ann/ink"]
    reading = read(pool.weights_path(filled.root, row.sha256), SLOTS, BOUNDS)
    exact = sketch(reading.lora, SLOTS, RECIPE.spec)
    stored = pool.load_sketch(filled.root, row.sha256)
    assert cosine(exact, stored) > 0.999999
    torch.testing.assert_close(
        stored.values, exact.values, rtol=1e-3, atol=1e-3 * float(exact.values.abs().max())
    )
    assert torch.equal(stored.present, exact.present)


def test_a_stored_sketch_retains_tiny_and_missing_slots(tmp_path: Path) -> None:
    lora = draw_lora()
    tiny, missing = SLOTS[0].name, SLOTS[1].name
    lora[tiny] = replace(lora[tiny], scale=1e-20)
    del lora[missing]
    exact = sketch(lora, SLOTS, RECIPE.spec)
    pool.save_sketch(tmp_path, "ab" * 32, exact)
    stored = pool.load_sketch(tmp_path, "ab" * 32)
    torch.testing.assert_close(stored.values[0] * 1e20, exact.values[0] * 1e20, rtol=1e-2, atol=1e-2)
    assert not stored.present[1] and not stored.values[1].any()


def test_a_missing_or_damaged_sketch_raises_missing_artifact(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run `dvc repro --force --single-item pool`"):
        pool.load_sketch(tmp_path, "ab" * 32)
    path = open_path(tmp_path, "ab" * 32)
    path.parent.mkdir(parents=True)
    save_file({"values": torch.zeros(1)}, path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MissingArtifact):
        pool.load_sketch(tmp_path, "ab" * 32)
