"""What the playground's report measures: fresh drawings, base pictures, pictures under LoRAs, captions, answers.

Everything is drawn from seeds that nothing else uses, and judged by the oracle, which has never seen a
generated picture.  `chance` is what naming always the most frequent value would score.
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
from autolora.fusion.install import fused
from autolora.generation import images
from autolora.lora.read import read
from autolora.metrics.classifier import Classifier, classify
from autolora.metrics.clip import Clip, image_features, text_features
from autolora.metrics.judges import shows
from autolora.params import GenerationParams, PoolParams
from autolora.slots import slots
from playground import authors, loras, vlm, world
from playground.rows import Floats, Row, cluster, count, macro, worst

DRAWINGS, BASE, EACH, ASKED = 2000, 384, 8, 800
"""oracle's drawings, base pictures, pictures a LoRA, questions"""
GALLERIES, GALLERY = 10, 100
"""draws of captions, and captions a draw"""


@dataclass(frozen=True)
class Painted:
    """Generated pictures and the scenes that their prompts describe."""

    scenes: list[world.Scene]
    images: list[Image.Image]


def read_oracle(classifier: Classifier, seed: int) -> list[Row]:
    """Let the oracle name what fresh drawings show."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(DRAWINGS)]
    named = classify(classifier, [world.draw(scene, rng) for scene in scenes])
    return [_named(f"oracle: {field}", scenes, named, field, seed) for field in world.FIELDS]


def paint_base(pipeline: Any, generation: GenerationParams, seed: int) -> Painted:
    """Let the base paint plain captions of what it knows."""
    rng = np.random.default_rng(seed)
    scenes = [
        world.sample_scene(rng, world.BASE_OBJECTS, (world.PLAIN,), world.BACKGROUNDS) for _ in range(BASE)
    ]
    prompts = [world.caption(scene, rng, str(rng.choice(world.LENGTHS))) for scene in scenes]
    made: list[Image.Image] = []
    for at in track(range(0, BASE, generation.batch), "base pictures"):
        part = slice(at, at + generation.batch)
        made += images(pipeline, prompts[part], [seed + i for i in range(BASE)][part], generation)
    return Painted(scenes, made)


def read_base(painted: Painted, classifier: Classifier, seed: int) -> list[Row]:
    """Let the oracle name what base pictures show."""
    named = classify(classifier, painted.images)
    fields = ("object", "colour", "background")
    return [_named(f"base: {field}", painted.scenes, named, field, seed) for field in fields]


def paint_loras(
    pipeline: Any, generation: GenerationParams, bounds: PoolParams, seed: int
) -> dict[authors.Recipe, Painted]:
    """Let each LoRA of the pool paint new scenes of its theme, its trigger word in the prompt."""
    places = slots(pipeline.transformer.config)
    painted = {}
    for recipe in track(authors.recipes(), "pictures under LoRAs"):
        own = seed + 100 * recipe.seed
        rng = np.random.default_rng(own)
        scenes = [loras.scene(recipe, rng) for _ in range(EACH)]
        prompts = [loras.describe(recipe, scene, rng) for scene in scenes]
        lora = read(loras.POOL / recipe.repo / recipe.file, places, bounds).lora
        with fused(pipeline.transformer, [lora]):
            made = images(pipeline, prompts, [own + i for i in range(EACH)], generation)
        painted[recipe] = Painted(scenes, made)
    return painted


def read_loras(painted: Mapping[authors.Recipe, Painted], classifier: Classifier, seed: int) -> list[Row]:
    """Let the oracle say which pictures show their LoRA's theme: by kind, macro over themes and worst."""
    kinds: dict[str, dict[str, list[Floats]]] = {}
    for recipe, shown in painted.items():
        (seen,) = shows(classifier, shown.images, [recipe.theme])
        kinds.setdefault(recipe.kind, {}).setdefault(recipe.theme, []).append(seen)
    found = []
    for kind, themes in kinds.items():
        chance = 1 / len(themes)
        found.append(macro(f"{kind} LoRAs: macro", themes, chance, seed))
        found.append(worst(f"{kind} LoRAs: worst", themes, chance, seed))
    return found


def read_clip(name: str, clip: Clip, seed: int) -> Row:
    """Let a CLIP find each fresh drawing's caption among those of 100 distinct scenes."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(GALLERIES):
        scenes: dict[world.Scene, None] = {}
        while len(scenes) < GALLERY:
            scenes[world.sample_scene(rng)] = None
        words = [world.caption(scene, rng, str(rng.choice(world.LENGTHS))) for scene in scenes]
        seen = image_features(clip, [world.draw(scene, rng) for scene in scenes])
        best = (seen @ text_features(clip, words).T).argmax(axis=1)
        hits.append((best == np.arange(GALLERY)).astype(np.float64))
    return count(f"{name}: caption of 100", np.concatenate(hits), 1 / GALLERY, seed)


def read_captions(engine: engines.Captioner, instruction: str, max_tokens: int, seed: int) -> list[Row]:
    """Let the VLM describe the pool's own renderings: which captions name what the prompt asked for."""
    shown = [(recipe, place, asked) for recipe in authors.recipes() for place, (asked, _) in
             enumerate(loras.shown(recipe), 1)]  # fmt: skip
    paths = [loras.POOL / recipe.repo / "images" / f"{place}.png" for recipe, place, _ in shown]
    told = [""] * len(paths)
    for place, text in track(engine.describe(paths, instruction, max_tokens), "captions", len(paths)):
        told[place] = text
    scenes, of = [asked for _, _, asked in shown], [recipe.repo for recipe, _, _ in shown]
    found = []
    for field in world.FIELDS:
        right = [vlm.names(text, scene, field) for text, scene in zip(told, scenes, strict=True)]
        hits = np.array(right, dtype=np.float64)
        found.append(cluster(f"VLM captions: {field}", hits, of, _commonest(scenes, field), seed))
    return found


def read_answers(name: str, witness: engines.Witness, question: str, seed: int) -> Row:
    """Ask about fresh drawings, with as many true claims as false ones, so that accuracy is balanced."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(ASKED)]
    truth = np.arange(ASKED) % 2 == 0
    claims = [world.claim(scene, rng, true=bool(t)) for scene, t in zip(scenes, truth, strict=True)]
    pictures = [world.draw(scene, rng) for scene in scenes]
    right = ((np.array(engines.yes(witness, pictures, claims, question)) > 0.5) == truth).astype(np.float64)
    return count(f"{name}: yes or no", right, 0.5, seed)


def _named(
    what: str, scenes: Sequence[world.Scene], named: Mapping[str, Sequence[str]], field: str, seed: int
) -> Row:
    hits = [getattr(scene, field) == name for scene, name in zip(scenes, named[field], strict=True)]
    return count(what, np.array(hits, dtype=np.float64), _commonest(scenes, field), seed)


def _commonest(scenes: Sequence[world.Scene], field: str) -> float:
    """Return the share of a field's most frequent value."""
    return max(Counter(getattr(scene, field) for scene in scenes).values()) / len(scenes)
