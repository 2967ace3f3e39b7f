"""Whether exchanged galleries are noticed by gradients of the base model: `python -m bench.galleries` (after
`make demo`).

Each adapter is checked with its own images, as `autolora show ADAPTER --gallery` does, and with those of an adapter of
another theme. No part of the check was trained; its threshold was chosen on the same adapters.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from autolora import models
from autolora.concepts.denoising import DenoisingGradients
from autolora.errors import exit_on_error
from autolora.gallery_check import Gallery, choose_others, compare, compute_with, read_galleries, read_updates
from autolora.lora.sketch import SketchSpec
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import Params, load
from bench.timing import today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.galleries"
GradientOf = Callable[[Sequence[str]], Tensor]
"""from images (sha256) to their gradients (n, S, m, p)"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the measurements; write metrics/summary.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/summary.json")
    is_dry_run = parser.parse_args(arguments).dry_run
    params = load(ROOT / "params.yaml")
    galleries = read_galleries(ROOT)
    path = params.evaluation.themes
    themes = {sha256: row.theme for sha256, row in read_judgments(ROOT / path if path else None).items()}
    rows = list(measure(ROOT, galleries, themes, compute_all(ROOT, params, galleries)))
    for row in rows:
        print(f"{row.name}: {row.value:.3f} of {row.n}")
    if not is_dry_run:
        update(ROOT, COMMAND, today(), rows)


def compute_all(root: Path, params: Params, galleries: Mapping[str, Gallery]) -> GradientOf:
    """Compute the gradients of all images once; return a function that looks them up."""
    models.set_threads(params.models)
    pipeline, tokens = models.load_pipeline(params.models), params.generation.max_sequence_length
    spec = SketchSpec(params.pool.sketch_size)
    gradients = DenoisingGradients(pipeline, params.concepts, spec, tokens)
    images = sorted({image for gallery in galleries.values() for image in gallery.images})
    computed = compute_with(root, lambda: gradients, params.concepts)(images)
    row = {image: number for number, (image, _) in enumerate(images)}
    return lambda names: computed[[row[name] for name in names]]


def measure(
    root: Path, galleries: Mapping[str, Gallery], themes: Mapping[str, str], gradient_of: GradientOf
) -> Iterator[Headline]:
    """Yield how well the check tells right galleries from exchanged ones. themes: of the adapters."""
    own = [gallery for gallery in galleries.values() if gallery.sha256 in themes]
    right = [check(root, galleries, gallery, gallery, gradient_of) for gallery in own]
    wrong = [
        check(root, galleries, gallery, exchanged(own, position, themes), gradient_of)
        for position, gallery in enumerate(own)
    ]
    scores, exchanged_scores = (np.array([score for score, _ in part]) for part in (right, wrong))
    area = float((scores[:, None] > exchanged_scores[None]).mean())
    yield Headline(name="galleries.auc", value=area, n=len(own))
    yield Headline(name="galleries.right_fit", value=float(np.mean([fits for _, fits in right])), n=len(own))
    yield Headline(
        name="galleries.exchanged_fit", value=float(np.mean([fits for _, fits in wrong])), n=len(own)
    )


def exchanged(galleries: Sequence[Gallery], position: int, themes: Mapping[str, str]) -> Gallery:
    """Return the next gallery, from half of the list on, of another theme."""
    theme = themes[galleries[position].sha256]
    start = position + len(galleries) // 2
    following = (galleries[(start + step) % len(galleries)] for step in range(len(galleries)))
    return next(gallery for gallery in following if themes[gallery.sha256] != theme)


def check(
    root: Path, galleries: Mapping[str, Gallery], adapter: Gallery, shown: Gallery, gradient_of: GradientOf
) -> tuple[float, bool]:
    """Return score and verdict of an adapter with the images of a gallery.

    The adapter that the images come from is not among those that it is compared with.
    """
    others = choose_others(
        {name: gallery for name, gallery in galleries.items() if name != shown.sha256}, adapter.family
    )
    result = compare(
        gradient_of([image for image, _ in shown.images]),
        gradient_of([other.images[0][0] for other in others]),
        read_updates(root, [adapter, *others]),
    )
    return result.score, result.fits


if __name__ == "__main__":
    with exit_on_error():
        main()
