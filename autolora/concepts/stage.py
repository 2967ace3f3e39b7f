"""The stage `concepts`: gradient sketches of captioned images, and the phrases that their captions have in common.

A gradient is identified by its image, its prompt, the base model, the sketch's definition and the noise. It is written
as soon as its batch is computed, so a killed run continues from there.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from autolora import models
from autolora.concepts.denoising import DenoisingGradients
from autolora.concepts.items import Skipped
from autolora.concepts.phrases import (
    Captioned,
    Coverage,
    PhraseLimits,
    cover,
    explain_no_concept,
    find_phrases,
)
from autolora.concepts.plan import RENDERINGS, Plan, make_plan
from autolora.concepts.shards import close_shards, save_gradient, stored_keys
from autolora.concepts.store import CaptionedImage, Phrase, images_path, phrases_path
from autolora.dataset.store import captions_by_image
from autolora.errors import MissingArtifact, RefusedFile
from autolora.lora.sketch import SketchSpec
from autolora.params import ConceptsParams, ModelsParams, PoolParams
from autolora.pool.images import decode_image
from autolora.storage.files import write_atomic, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest

SCHEMA = 1
MAX_MISSING = 20
"""words of the pool without images that metrics/concepts.json names"""

logger = logging.getLogger(__name__)

__all__ = ["Plan", "Result", "compute_gradients", "finish", "make_plan"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has written."""

    corpus: int
    """captioned images of the corpus"""
    renderings: int
    """captioned images that are renderings of training adapters"""
    concepts: int
    skipped: Skipped
    coverage: Coverage | None
    """of the words of the dataset's captions; None without images"""
    warning: str = ""
    """why there is no concept; empty if there are some, or should be none"""

    def to_json(self) -> dict[str, Any]:
        """Return the content of metrics/concepts.json."""
        counts = {"corpus": self.corpus, "renderings": self.renderings, "concepts": self.concepts}
        content: dict[str, Any] = counts | {
            "skipped": dict(self.skipped.counts),
            "refused": self.skipped.named,
            "warning": self.warning or None,
            "coverage": None,
        }
        if self.coverage:
            content["coverage"] = {
                "words": self.coverage.words,
                "share": round(self.coverage.share, 3),
                "missing": self.coverage.missing[:MAX_MISSING],
            }
        return content

    @property
    def summary(self) -> str:
        """Return the result as a line."""
        parts = [f"{self.corpus + self.renderings} captioned images, {self.concepts} concepts"]
        if self.skipped.counts:
            parts.append(f"{self.skipped.counts.total()} skipped ({self.skipped})")
        if self.coverage:
            parts.append(f"{self.coverage.share:.0%} of the pool's {self.coverage.words} words covered")
        return "; ".join(parts)


def compute_gradients(
    root: Path, plan: Plan, params: ConceptsParams, base: ModelsParams, bounds: PoolParams, tokens: int
) -> Iterator[int]:
    """Compute and store the missing gradients; yield the number of images of each batch.

    An image that has changed since the plan, and cannot be read or decoded now, is counted in the plan. Without missing
    gradients no model is loaded.
    Raises MissingArtifact if the pipeline cannot be loaded, MismatchError if its gradients are not finite.
    """
    if not plan.gradients.add:
        return
    models.set_threads(base)
    gradients = DenoisingGradients(models.load_pipeline(base), params, SketchSpec(bounds.sketch_size), tokens)
    for start in range(0, len(plan.gradients.add), params.batch):
        keys = plan.gradients.add[start : start + params.batch]
        if decoded := _decode(plan, keys, bounds):
            inputs = [plan.inputs[key] for key in decoded]
            names, prompts = [item.sha256 for item in inputs], [item.prompt for item in inputs]
            computed = gradients.compute(list(decoded.values()), names, prompts)
            for key, gradient in zip(decoded, computed, strict=True):
                save_gradient(root, key, gradient)
        yield len(keys)


def finish(root: Path, plan: Plan, params: ConceptsParams) -> Result:
    """Write tables, shards, metrics/concepts.json and then the digest; remove what is not wanted any more.

    Logs a warning if images give no concept. Raises MissingArtifact if a corpus has images, but none can be used.
    """
    images = _images_with_gradients(root, plan)
    captioned, has_source = (
        [(image.sha256, image.caption) for image in images],
        params.renderings or params.corpus,
    )
    limits = PhraseLimits(
        min_images=params.min_images, max_share=params.max_share, max_overlap=params.max_overlap
    )
    members = find_phrases(captioned, limits)
    phrases = [Phrase(phrase=phrase, images=numbers) for phrase, numbers in members.items()]
    close_shards(root, {image.gradient for image in images})
    write_rows(images_path(root), map(asdict, images))
    write_rows(phrases_path(root), map(asdict, phrases))
    coverage = cover(captioned, _pool_captions(root), limits) if images else None
    renderings = sum(image.source == RENDERINGS for image in images)
    warning = _warn_without_concepts(captioned, limits) if not phrases and has_source else ""
    result = Result(len(images) - renderings, renderings, len(phrases), plan.skipped, coverage, warning)
    text = json.dumps(result.to_json(), indent=2, sort_keys=True, ensure_ascii=False)
    write_atomic(root / "metrics" / "concepts.json", text + "\n")
    rows = {_identity(image): hash_value(asdict(image)) for image in images}
    rows |= {f"phrase/{phrase.phrase}": hash_value(asdict(phrase)) for phrase in phrases}
    write_digest(root, "concepts", rows, SCHEMA, images=len(images), concepts=len(phrases))
    return result


def _warn_without_concepts(captioned: Captioned, limits: PhraseLimits) -> str:
    """Log why captioned images give no concept, and return it."""
    warning = explain_no_concept(len({image for image, _ in captioned}), limits)
    logger.warning(warning)
    return warning


def _images_with_gradients(root: Path, plan: Plan) -> list[CaptionedImage]:
    """Return the captioned images that have a gradient. Raises MissingArtifact if a corpus has images, but none of
    them, and no rendering, can be used.
    """
    stored = stored_keys(root)
    images = [image for image in plan.images if image.gradient in stored]
    if plan.sampled and not images:
        raise MissingArtifact(
            f"none of {plan.sampled} captioned images of concepts.corpus can be used ({plan.skipped}): the log names "
            "the first of each kind; correct them, or give another corpus"
        )
    return images


def _identity(image: CaptionedImage) -> str:
    return f"image/{image.sha256}/{hash_value(image.caption)}"


def _decode(plan: Plan, keys: Sequence[str], bounds: PoolParams) -> dict[str, Image.Image]:
    """Return key -> image, and count the images that cannot be decoded."""
    decoded = {}
    for key in keys:
        try:
            decoded[key] = decode_image(plan.inputs[key].read(), bounds)
        except RefusedFile as refused:
            plan.skipped.add(refused.code, plan.inputs[key].source, str(refused))
    return decoded


def _pool_captions(root: Path) -> list[tuple[str, str]]:
    """Return (image, caption) of the dataset."""
    return [(image, caption.text) for image, group in captions_by_image(root).items() for caption in group]
