"""The check of a gallery: images of the adapter fit its weights, those of another one do not; each is computed once."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora import models
from autolora.concepts.denoising import DenoisingGradients
from autolora.errors import MissingArtifact
from autolora.gallery_check import (
    MAX_OTHERS,
    MIN_OTHERS,
    MIN_SCORE,
    Captioned,
    GalleryCheck,
    check_gallery,
    choose_others,
    compute_with,
    read_galleries,
)
from autolora.lora.sketch import SketchSpec
from autolora.params import load
from autolora.pool import store as pool
from tests.support.report_root import save_image
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    make_adapter,
    make_adapters,
    write_dataset,
    write_images,
    write_repository,
)
from tests.support.tiny_flux import TOKENS, save_pipeline

PARAMS = load(Path(__file__).parents[1] / "params.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SyntheticAdapter]]:
    """Return a repository with a dataset, and its adapters."""
    root, adapters = tmp_path_factory.mktemp("root"), make_adapters()
    write_repository(root, adapters)
    write_images(root, adapters)
    write_dataset(root)
    return root, adapters


@pytest.fixture
def repository(
    written: tuple[Path, list[SyntheticAdapter]], tmp_path: Path
) -> tuple[Path, list[SyntheticAdapter]]:
    shutil.copytree(written[0], tmp_path / "root")
    return tmp_path / "root", written[1]


class Gradients:
    """Stands for the base model: the gradient on an image is the update of the adapter that it shows, a part that all
    images have in common, and noise."""

    def __init__(self, root: Path, shown: dict[str, str]) -> None:
        """shown: image -> adapter."""
        self.root, self.shown, self.calls = root, shown, 0

    def __call__(self, renderings: Sequence[Captioned]) -> Tensor:
        self.calls += 1
        updates = torch.stack(
            [pool.load_sketch(self.root, self.shown[image]).values for image, _ in renderings]
        )
        generator = torch.Generator().manual_seed(0)
        common = 5 * torch.randn(updates.shape[1:], generator=generator)
        noise = torch.randn(updates.shape, generator=generator)
        scale = updates.flatten(2).norm(dim=2).mean() / noise[0, 0].norm()
        return 1e-4 * (updates + scale * (common + noise))


def shown_by(adapters: Sequence[SyntheticAdapter]) -> dict[str, str]:
    return {
        image.sha256 or "": adapter.sha256 for adapter in adapters for image in adapter.listing.renderings
    }


def test_own_images_fit_and_those_of_another_adapter_do_not(
    repository: tuple[Path, list[SyntheticAdapter]],
) -> None:
    root, adapters = repository
    shown = shown_by(adapters)
    adapter, other = adapters[0], adapters[-1]
    right = check_gallery(root, adapter.sha256, Gradients(root, shown), "right")
    assert right.fits and right.score > 2 * MIN_SCORE and right.images == 2
    assert len(right.others) == len(adapters) - 1
    assert right.verdict.startswith(
        "2 images fit the weights: the cosine of their gradient with the update, 0."
    )
    exchanged = shown | {image.sha256 or "": other.sha256 for image in adapter.listing.renderings}
    wrong = check_gallery(root, adapter.sha256, Gradients(root, exchanged), "wrong")
    assert not wrong.fits and wrong.verdict.startswith("2 images do not fit the weights")


def test_a_check_is_computed_once(repository: tuple[Path, list[SyntheticAdapter]]) -> None:
    root, adapters = repository
    gradients = Gradients(root, shown_by(adapters))
    first = check_gallery(root, adapters[0].sha256, gradients, "key")
    assert check_gallery(root, adapters[0].sha256, gradients, "key") == first and gradients.calls == 1
    check_gallery(root, adapters[0].sha256, gradients, "another base model")
    assert gradients.calls == 2


def test_a_damaged_check_is_computed_again(repository: tuple[Path, list[SyntheticAdapter]]) -> None:
    root, adapters = repository
    gradients = Gradients(root, shown_by(adapters))
    first = check_gallery(root, adapters[0].sha256, gradients, "key")
    (path,) = (root / "cache/gallery_checks").iterdir()
    path.write_text(path.read_text()[:50])
    assert check_gallery(root, adapters[0].sha256, gradients, "key") == first and gradients.calls == 2


def test_images_that_were_taken_down_are_not_compared(
    repository: tuple[Path, list[SyntheticAdapter]],
) -> None:
    root, adapters = repository
    image = read_galleries(root)[adapters[0].sha256].images[0][0]
    pool.rendering_path(root, image).write_bytes(b"")
    galleries = read_galleries(root)
    assert image not in {name for name, _ in galleries[adapters[0].sha256].images}
    assert len(galleries) == len(adapters)


def test_others_are_of_other_families_and_always_the_same(
    repository: tuple[Path, list[SyntheticAdapter]],
) -> None:
    galleries = read_galleries(repository[0])
    some = dict(list(galleries.items())[:10])
    family = next(iter(some.values())).family
    others = choose_others(some, family)
    assert others == choose_others(dict(reversed(some.items())), family)
    assert len(others) == 9 and all(other.family != family for other in others)
    many = {f"{n}": replace(others[0], sha256=f"{n}", family=f"{n}") for n in range(MAX_OTHERS + 5)}
    assert len(choose_others(many, family)) == MAX_OTHERS


def test_too_little_to_compare_is_an_error(
    repository: tuple[Path, list[SyntheticAdapter]], tmp_path: Path
) -> None:
    root, _ = repository
    with pytest.raises(MissingArtifact, match="no captioned image"):
        check_gallery(root, "0" * 64, Gradients(root, {}), "key")
    few = [make_adapter("mosaic", author) for author in range(MIN_OTHERS)]
    write_repository(tmp_path, few)
    write_images(tmp_path, few)
    write_dataset(tmp_path)
    with pytest.raises(MissingArtifact, match=f"only {MIN_OTHERS - 1} adapters of other families"):
        check_gallery(tmp_path, few[0].sha256, Gradients(tmp_path, {}), "key")


def test_constant_cosines_of_others_are_no_division_by_zero() -> None:
    check = GalleryCheck(images=1, cosine=0.5, others=(0.5,) * 8)
    assert check.score == 0 and not check.fits


def test_gradients_are_those_of_the_base_model(tmp_path: Path) -> None:
    base = replace(PARAMS.models, pipeline=str(save_pipeline(tmp_path / "flux")), threads=1)
    params = replace(PARAMS.concepts, image_size=32, noise_levels=(0.5,), draws=1, batch=2)
    loaded: list[DenoisingGradients] = []

    def load_gradients() -> DenoisingGradients:
        loaded.append(DenoisingGradients(models.load_pipeline(base), params, SketchSpec(8), TOKENS))
        return loaded[0]

    names = [f"{number}" * 64 for number in range(3)]
    for number, name in enumerate(names):
        save_image(pool.rendering_path(tmp_path, name), (80 * number, 40, 200))
    compute = compute_with(tmp_path, load_gradients, params)
    assert not loaded
    gradients = compute([(name, "a cat") for name in names])
    assert len(loaded) == 1 and gradients.shape[0] == 3 and gradients.shape[2:] == (8, 8)
    torch.testing.assert_close(gradients[2:], compute([(names[2], "a cat")]), rtol=1e-3, atol=1e-6)
