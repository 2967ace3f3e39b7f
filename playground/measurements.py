"""Measurements of the playground's report: oracle, base, LoRAs, CLIPs, and the VLMs' captions and answers.

All drawings and prompts come from seeds that nothing else uses. Generated images are judged by the oracle, which was
not trained on generated images. The `chance` of a row is the score of always predicting the most frequent value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from autolora import vlm as engines
from autolora.errors import CaptionError
from autolora.fusion.install import fused
from autolora.generation.images import generate_images
from autolora.lora.read import read
from autolora.lora.slots import slots
from autolora.metrics.classifier import Classifier, classify
from autolora.metrics.clip import Clip, image_features, text_features
from autolora.metrics.judges import detect
from autolora.params import CaptionsParams, GenerationParams, PoolParams
from autolora.storage.arrays import Float64Array
from playground import authors, loras, world
from playground.report_rows import Row, binomial_row, clustered_row, macro_row, worst_row
from playground.vlm.evaluation import names

DRAWINGS, BASE_IMAGES, IMAGES_PER_LORA, QUESTIONS = 2000, 384, 8, 800
CAPTION_SETS, CAPTIONS_PER_SET = 10, 100


@dataclass(frozen=True)
class GeneratedImages:
    """Generated images, and the scenes that their prompts describe."""

    scenes: list[world.Scene]
    images: list[Image.Image]


def measure_oracle(classifier: Classifier, size: int, seed: int) -> list[Row]:
    """Return the oracle's accuracy on fresh drawings of a size in pixels, by field."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(DRAWINGS)]
    predicted = classify(classifier, [world.draw(scene, rng, size) for scene in scenes])
    return [_accuracy(f"oracle: {field}", scenes, predicted, field, seed) for field in world.FIELDS]


def generate_base_images(pipeline: Any, generation: GenerationParams, seed: int) -> GeneratedImages:
    """Return images by the base for captions of scenes that it is trained on."""
    rng = np.random.default_rng(seed)
    scenes = [
        world.sample_scene(rng, world.BASE_OBJECTS, (world.PLAIN,), world.BACKGROUNDS)
        for _ in range(BASE_IMAGES)
    ]
    prompts = [world.caption(scene, rng, str(rng.choice(world.LENGTHS))) for scene in scenes]
    images: list[Image.Image] = []
    for start in track(range(0, BASE_IMAGES, generation.batch), "images by the base"):
        part = slice(start, start + generation.batch)
        seeds = [seed + i for i in range(BASE_IMAGES)][part]
        images += generate_images(pipeline, prompts[part], seeds, generation)
    return GeneratedImages(scenes, images)


def measure_base(generated: GeneratedImages, classifier: Classifier, seed: int) -> list[Row]:
    """Return the shares of the base's images in which the oracle recognizes what the prompt names, by field."""
    predicted = classify(classifier, generated.images)
    fields = ("object", "colour", "background")
    return [_accuracy(f"base: {field}", generated.scenes, predicted, field, seed) for field in fields]


def generate_lora_images(
    pipeline: Any,
    recipes: Sequence[authors.Recipe],
    generation: GenerationParams,
    bounds: PoolParams,
    seed: int,
) -> dict[authors.Recipe, GeneratedImages]:
    """Return images by the base with each LoRA of the pool, for new captions with its trigger word."""
    known_slots = slots(pipeline.transformer.config)
    generated = {}
    for recipe in track(recipes, "images with LoRAs"):
        first_seed = seed + 100 * recipe.seed
        rng = np.random.default_rng(first_seed)
        scenes = [loras.sample_scene(recipe, rng) for _ in range(IMAGES_PER_LORA)]
        prompts = [loras.caption(recipe, scene, rng) for scene in scenes]
        lora = read(loras.POOL / recipe.repo / recipe.file, known_slots, bounds).lora
        with fused(pipeline.transformer, [lora]):
            seeds = [first_seed + i for i in range(IMAGES_PER_LORA)]
            images = generate_images(pipeline, prompts, seeds, generation)
        generated[recipe] = GeneratedImages(scenes, images)
    return generated


def measure_loras(
    generated: Mapping[authors.Recipe, GeneratedImages], classifier: Classifier, seed: int
) -> list[Row]:
    """Return the shares of images in which the oracle detects their LoRA's theme.

    There are two rows per kind of theme: the mean over themes, and the worst theme.
    """
    kinds: dict[str, dict[str, list[Float64Array]]] = {}
    for recipe, images in generated.items():
        (hits,) = detect(classifier, images.images, [recipe.theme])
        kinds.setdefault(recipe.kind, {}).setdefault(recipe.theme, []).append(hits)
    rows = []
    for kind, themes in kinds.items():
        chance = 1 / len(themes)
        rows.append(macro_row(f"{kind} LoRAs: macro", themes, chance, seed))
        rows.append(worst_row(f"{kind} LoRAs: worst", themes, chance, seed))
    return rows


def measure_clip(name: str, clip: Clip, size: int, seed: int) -> Row:
    """Return the share of fresh drawings for which a CLIP finds the caption among those of 100 distinct scenes."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(CAPTION_SETS):
        scenes: dict[world.Scene, None] = {}
        while len(scenes) < CAPTIONS_PER_SET:
            scenes[world.sample_scene(rng)] = None
        captions = [world.caption(scene, rng, str(rng.choice(world.LENGTHS))) for scene in scenes]
        features = image_features(clip, [world.draw(scene, rng, size) for scene in scenes])
        best = (features @ text_features(clip, captions).T).argmax(axis=1)
        hits.append((best == np.arange(CAPTIONS_PER_SET)).astype(np.float64))
    return binomial_row(f"{name}: caption of 100", np.concatenate(hits), 1 / CAPTIONS_PER_SET, seed)


def measure_captions(
    engine: engines.Captioner,
    recipes: Sequence[authors.Recipe],
    captions: CaptionsParams,
    seed: int,
) -> list[Row]:
    """Return the shares of the pool's renderings whose caption by the VLM names what the prompt names, by field."""
    renderings = [
        (recipe, number, scene)
        for recipe in recipes
        for number, (scene, _) in enumerate(loras.rendered_scenes(recipe), 1)
    ]
    paths = [loras.POOL / recipe.repo / "images" / f"{number}.png" for recipe, number, _ in renderings]
    texts, instructions = [""] * len(paths), (captions.instructions.medium,)
    requests = [engines.CaptionRequest(image=path, instructions=instructions) for path in paths]
    results = engine.describe(requests, captions.max_tokens, captions.max_image_side)
    for result in track(results, "captions", len(paths)):
        if isinstance(result, engines.FailedImage):
            raise CaptionError(f"{paths[result.position]}: {result.reason}")
        texts[result.position] = result.text
    scenes = [scene for _, _, scene in renderings]
    repos = [recipe.repo for recipe, _, _ in renderings]
    rows = []
    for field in world.FIELDS:
        is_right = [names(text, scene, field) for text, scene in zip(texts, scenes, strict=True)]
        hits = np.array(is_right, dtype=np.float64)
        chance = _largest_share(scenes, field)
        rows.append(clustered_row(f"VLM captions: {field}", hits, repos, chance, seed))
    return rows


def measure_answers(name: str, scorer: engines.YesNoScorer, question: str, size: int, seed: int) -> Row:
    """Return the share of right answers about claims on fresh drawings of a size, half of which are true."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(QUESTIONS)]
    truth = np.arange(QUESTIONS) % 2 == 0
    claims = [world.claim(scene, rng, true=bool(t)) for scene, t in zip(scenes, truth, strict=True)]
    images = [world.draw(scene, rng, size) for scene in scenes]
    is_yes = np.array(engines.vqa_scores(scorer, images, claims, question)) > 0.5
    return binomial_row(f"{name}: yes or no", (is_yes == truth).astype(np.float64), 0.5, seed)


def _accuracy(
    name: str,
    scenes: Sequence[world.Scene],
    predicted: Mapping[str, Sequence[str]],
    field: str,
    seed: int,
) -> Row:
    hits = [getattr(scene, field) == value for scene, value in zip(scenes, predicted[field], strict=True)]
    return binomial_row(name, np.array(hits, dtype=np.float64), _largest_share(scenes, field), seed)


def _largest_share(scenes: Sequence[world.Scene], field: str) -> float:
    """Return the share of a field's most frequent value."""
    return max(Counter(getattr(scene, field) for scene in scenes).values()) / len(scenes)
