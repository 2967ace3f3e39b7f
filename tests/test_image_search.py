"""Search by an image: the caption's cosines, corrected by the base model's gradient."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autolora import image_search, models, vlm
from autolora.concepts.denoising import DenoisingGradients
from autolora.errors import CaptionError, MismatchError, ParamsError
from autolora.image_search import GRADIENT_WEIGHT, ImageSearch, combine
from autolora.lora.sketch import Sketch, SketchSpec
from autolora.params import Params
from autolora.pool import store as pool
from autolora.search.retriever import Retriever, open_index
from autolora.text_encoder.clip import load_numpy_text_encoder
from tests.support import small_root, tiny_judges
from tests.support.tiny_flux import TOKENS

CAPTION = "a neon thing"
COUNT = 12
"""adapters of the index"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    small_root.build(root, small_root.base(root))
    return root


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    shipped = small_root.params()
    return replace(
        shipped,
        models=small_root.base(root),
        pool=small_root.bounds(),
        concepts=replace(shipped.concepts, image_size=32, noise_levels=(0.5,), draws=1),
        generation=replace(shipped.generation, max_sequence_length=TOKENS),
    )


@pytest.fixture(scope="module")
def retriever(root: Path, params: Params) -> Retriever:
    return Retriever(open_index(root), load_numpy_text_encoder(root, params.models))


@pytest.fixture(scope="module")
def images(root: Path, params: Params, retriever: Retriever) -> ImageSearch:
    return ImageSearch(root, params, retriever)


@pytest.fixture(scope="module")
def image(root: Path) -> Image.Image:
    return Image.open(pool.rendering_path(root, small_root.write_image(root, "another image"))).convert("RGB")


@pytest.fixture
def adapter(root: Path, params: Params, retriever: Retriever, image: Image.Image) -> Iterator[str]:
    """Return the adapter that fits the caption least; its update is what the base model's gradient points to."""
    sha256 = retriever.search(CAPTION, COUNT)[-1].sha256
    former = pool.load_sketch(root, sha256)
    spec = SketchSpec(small_root.SKETCH_SIZE)
    pipeline = models.load_pipeline(params.models)
    (gradient,) = DenoisingGradients(pipeline, params.concepts, spec, TOKENS).compute(
        [image], ["other noise"], [CAPTION]
    )
    pool.save_sketch(root, sha256, Sketch(gradient, torch.ones(len(gradient), dtype=torch.bool)))
    yield sha256
    pool.save_sketch(root, sha256, former)


def test_a_gradient_raises_the_adapter_whose_update_it_points_to(
    images: ImageSearch, image: Image.Image, adapter: str, retriever: Retriever
) -> None:
    by_caption = {hit.sha256: hit for hit in retriever.search(CAPTION, COUNT)}
    hits = images.search(image, CAPTION, COUNT)
    assert by_caption.keys() == {hit.sha256 for hit in hits}
    assert [hit.rank for hit in hits] == list(range(1, COUNT + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    raised = [hit.sha256 for hit in hits if hit.score > by_caption[hit.sha256].score]
    assert adapter in raised
    assert next(hit.rank for hit in hits if hit.sha256 == adapter) < COUNT == by_caption[adapter].rank
    assert images.search(image, CAPTION, 2) == hits[:2]


def test_filters_apply_before_the_ranking(
    images: ImageSearch, image: Image.Image, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hit,) = images.search(image, CAPTION, 5, f"sha256 = '{adapter}'")
    assert (hit.sha256, hit.rank) == (adapter, 1)
    monkeypatch.setattr(models, "load_pipeline", lambda _: pytest.fail("there is nothing to compare"))
    assert images.search(image, CAPTION, 5, ["nsfw"]) == []


@pytest.mark.parametrize("compared", [1000, 4])
def test_a_score_is_the_same_with_and_without_a_filter(
    images: ImageSearch, image: Image.Image, adapter: str, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the index has more adapters than are compared with the gradient."""
    monkeypatch.setattr(image_search, "MAX_COMPARED", compared)
    hits = {hit.sha256: hit for hit in images.search(image, CAPTION, COUNT)}
    assert len(hits) == COUNT
    for conditions in ([f"sha256 = '{adapter}'"], ["split = 'train'"], ["rank_max <= 1000"]):
        found = images.search(image, CAPTION, COUNT, conditions)
        assert found
        for hit in found:
            assert hit.score == pytest.approx(hits[hit.sha256].score, abs=1e-6)
            assert hit.relevance == pytest.approx(hits[hit.sha256].relevance, abs=1e-5)
    for hit in images.search(image, CAPTION, 2):
        assert hit.score == pytest.approx(hits[hit.sha256].score, abs=1e-6), "nor does it depend on k"


def test_scores_are_weighted_means_on_the_scale_of_the_cosines() -> None:
    cosines, alignments = np.array([0.1, 0.2, 0.6]), np.array([0.003, 0.001, 0.002])
    scaled = cosines.mean() + cosines.std() * np.array([1.5, -1.5, 0]) / np.sqrt(1.5)
    expected = (cosines + GRADIENT_WEIGHT * scaled) / (1 + GRADIENT_WEIGHT)
    np.testing.assert_allclose(combine(cosines, alignments), expected)
    np.testing.assert_allclose(combine(cosines, 100 * alignments - 7), expected)
    assert np.array_equal(combine(cosines, alignments, 0), cosines)
    assert np.array_equal(combine(cosines[:1], alignments[:1]), cosines[:1])
    some = combine(cosines[1:], alignments[1:], reference=(cosines, alignments))
    np.testing.assert_allclose(some, expected[1:])


def test_another_base_model_or_sketch_is_an_error(root: Path, params: Params, retriever: Retriever) -> None:
    other = replace(params, pool=replace(params.pool, sketch_size=16))
    with pytest.raises(MismatchError, match="read with recipe"):
        ImageSearch(root, other, retriever)


def test_the_model_of_the_captions_describes_an_image(
    root: Path, params: Params, retriever: Retriever, image: Image.Image, tmp_path: Path
) -> None:
    base = replace(params.models, vlm=str(tiny_judges.save_vlm(tmp_path / "vlm")))
    captions = replace(params.captions, max_tokens=3)
    described = ImageSearch(root, replace(params, models=base, captions=captions), retriever).describe(image)
    assert described.strip() and len(described.split()) <= 3
    without = replace(params, captions=replace(captions, engine=None))
    with pytest.raises(ParamsError, match=r"captions\.engine is null, so no model captions the image"):
        ImageSearch(root, without, retriever).describe(image)


def test_an_image_without_a_caption_is_an_error(
    images: ImageSearch, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        def describe(self, *_: Any) -> list[vlm.FailedImage]:
            return [vlm.FailedImage(position=0, reason="the answer is empty")]

    monkeypatch.setattr(vlm, "captioner", lambda *_: Silent())
    with pytest.raises(
        CaptionError, match=r"does not caption the image \(the answer is empty\): give its caption"
    ):
        images.describe(image)
