"""Images in the cache of a world: each is drawn once, under a hash of everything that it is made from.

The code is not part of the hash: remove cache/paper/images after a change of how images are made.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter
from autolora.generation.images import generate_images
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_folder, hash_value
from studies.paper.gates import GateShelf, TrainedGates
from studies.paper.methods import PAIRS_ONLY, Method, attach
from studies.paper.world import World


@dataclass(frozen=True, slots=True)
class Part:
    """An adapter as it acts."""

    sha256: str
    relevance: float | None = None
    """to the prompt, 0 to 1; gates read it"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made from, besides its seed and the settings of the world."""

    prompt: str
    parts: tuple[Part, ...]
    method: Method = "direct"
    gates: TrainedGates | None = None
    """None for all methods but `gated`"""

    def simplified(self) -> "Recipe":
        """Return the recipe that gives the same images with the fewest differences from others.

        One adapter alone acts as its update unless it is gated; only gates read relevance.
        """
        if self.parts and self.method == "gated":
            return self
        parts = tuple(replace(part, relevance=None) for part in self.parts)
        return replace(self, parts=parts) if len(parts) > 1 else Recipe(self.prompt, parts)

    def computed(self) -> "Recipe":
        """Return the simplified recipe without the order of its adapters, unless the method reads it."""
        recipe = self.simplified()
        if recipe.method in PAIRS_ONLY:
            return recipe
        return replace(recipe, parts=tuple(sorted(recipe.parts, key=lambda part: part.sha256)))


class ImageCache:
    """Images of recipes, drawn if they are not in the cache."""

    def __init__(self, world: World, shelf: GateShelf) -> None:
        self._world, self._shelf = world, shelf
        self.drawn = 0
        """number of images that were drawn and not read"""

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What all images of the world have in common."""
        params = self._world.params
        pipeline = params.models.pipeline
        settings = asdict(params.generation)
        for name in (
            "batch",
            "method",
            "trigger_words",
        ):  # none of them changes these images
            del settings[name]
        content = hash_folder(Path(pipeline)) if Path(pipeline).is_dir() else pipeline
        return {"base": [content, params.models.pipeline_revision, params.models.dtype], "settings": settings}

    def key(self, recipe: Recipe, seed: int) -> str:
        """Return the hash (64 hex digits) of everything that an image is made from."""
        recipe = recipe.simplified()
        made_from = asdict(recipe) | {"seed": seed}
        made_from["gates"] = None if recipe.gates is None else self._shelf.key(recipe.gates)
        return hash_value(self._settings | made_from)

    def path(self, key: str) -> Path:
        """Return the path of an image."""
        return self._world.cache / "images" / key[:2] / f"{key}.png"

    def images(self, recipe: Recipe, seeds: Sequence[int]) -> list[Image.Image]:
        """Return one image per seed."""
        recipe = recipe.simplified()
        paths = [self.path(self.key(recipe, seed)) for seed in seeds]
        missing = [seed for seed, path in zip(seeds, paths, strict=True) if not path.exists()]
        if missing:
            self._draw(recipe, missing)
        return [_read(path) for path in paths]

    def _draw(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        """Draw images and write each as PNG, without loss."""
        generator, params = self._world.generator, self._world.params.generation
        with self._attached(recipe):
            images = generate_images(generator.pipeline, [recipe.prompt] * len(seeds), seeds, params)
        for seed, image in zip(seeds, images, strict=True):
            stream = io.BytesIO()
            image.save(stream, format="PNG")
            write_atomic(self.path(self.key(recipe, seed)), stream.getvalue())
        self.drawn += len(seeds)

    def _attached(self, recipe: Recipe) -> Attachment:
        """Let the adapters of a recipe act."""
        generator = self._world.generator
        adapters = [
            Adapter(part.sha256, generator.load_lora(part.sha256), part.relevance) for part in recipe.parts
        ]
        return attach(
            generator.pipeline,
            adapters,
            recipe.method,
            lambda: self._shelf.load(recipe.gates, generator.slots),
        )


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
