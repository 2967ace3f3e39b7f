"""The image of docs/fusion.md: what its rows and columns are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolora.generation.images import Generator, generate
from autolora.params import load
from autolora.search.retriever import open_retriever
from playground.contact_sheets import GAP, MARGIN
from playground.fusion_images import MAX_BYTES, METHODS, PROMPTS, draw_rows, save_page
from tests.support.drawing_project import build_project

pytestmark = pytest.mark.slow


def test_columns_are_prompts_with_what_generate_selects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build_project(tmp_path)
    params = load(root / "params.yaml")
    params = replace(params, retrieval=replace(params.retrieval, min_relevance=0.0))
    retriever = open_retriever(root)
    rows = dict(draw_rows(root, params, retriever, {"a cat": 0, "a neon rocket": 5}))
    assert [*rows] == ["base", *METHODS] and {len(images) for images in rows.values()} == {2}
    hits = retriever.select("a neon rocket")
    assert f"a neon rocket; seed 5: {', '.join(hit.id for hit in hits)}" in capsys.readouterr().out
    generator = Generator(root, params.models, params.pool)
    for label, chosen in (("base", []), ("direct", hits)):
        expected = generate(
            generator, "a neon rocket", chosen, method="direct", seed=5, params=params.generation
        )
        assert np.array_equal(np.asarray(rows[label][1]), np.asarray(expected.image))


def make_noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def test_a_page_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    image = make_noise(0)
    save_page([("base", [image] * 2), ("direct", [image])], tmp_path / "docs" / "x.png")
    with Image.open(tmp_path / "docs" / "x.png") as page:
        assert page.height == 2 * MARGIN + 2 * (128 + GAP) - GAP
    with pytest.raises(ValueError, match=f"more than {MAX_BYTES}"):
        save_page([("row", [make_noise(seed) for seed in range(60)])], tmp_path / "large.png")


def test_the_page_lists_the_prompts() -> None:
    page = (Path(__file__).parents[2] / "docs/fusion.md").read_text(encoding="utf-8")
    assert all(f"*{prompt}*" in page for prompt in PROMPTS)
