"""Scores of images, by the judges of a world, kept in its cache.

prompt similarity  CLIP: cosine of image and prompt
VQAScore           judge VLM: probability that the image shows the content of the prompt
own i              CLIP: mean cosine of the image and the own images (renderings) of the loaded adapter i; Table 2
alone i            CLIP: cosine of the image and that of adapter i alone, from the same prompt and seed; Tables 3 to 5
crop i             CLIP: `own i` of the crop that is most like the adapter's own images
shown i            classifier: 1 if it detects the theme of adapter i
all shown          classifier: 1 if it detects the themes of all loaded adapters
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from autolora.metrics.clip import image_features, similarity, text_features
from autolora.metrics.judges import detect, vqa_score
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.files import append_rows, read_rows
from autolora.storage.hashes import hash_value
from studies.paper.cases import Case
from studies.paper.images import ImageCache, Part, Recipe
from studies.paper.quality import QualityScorer
from studies.paper.world import World

SCHEMA = 1
"""of the scores; part of the hash under which they are kept"""
CROP_SHARE = 2 / 3
"""side of a crop to that of the image"""
Columns = dict[str, Float64Array]
"""score -> its value for each image, nan if it is undefined"""


class Scores:
    """Scores of images, computed if they are not in the cache."""

    def __init__(self, world: World, images: ImageCache, quality: Sequence[QualityScorer] = ()) -> None:
        """quality: scorers besides the judges of the world."""
        self._world, self._images, self._quality = world, images, quality
        self._path = world.cache / "scores.jsonl"
        self._known = {row["key"]: row["scores"] for row in read_rows(self._path)}
        self._own = lru_cache(256)(self._own_features)

    def of(self, case: Case, recipe: Recipe) -> Columns:
        """Return the scores of a case's images, which are drawn first if they are missing."""
        keys = self._keys(case, recipe)
        missing = [row for row, key in enumerate(keys) if key not in self._known]
        if missing:
            self._compute(case, recipe, [case.seeds[row] for row in missing], [keys[row] for row in missing])
        rows = [self._known[key] for key in keys]
        return {
            name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in rows[0]
        }

    def are_known(self, case: Case, recipe: Recipe) -> bool:
        """Return whether all scores of a case's images are in the cache."""
        return all(key in self._known for key in self._keys(case, recipe))

    def _keys(self, case: Case, recipe: Recipe) -> list[str]:
        """Return the hash of everything that the scores of each image depend on."""
        facts = [SCHEMA, self._world.judges.facts, [scorer.name for scorer in self._quality]]
        texts = [case.prompt, case.content, case.loaded, case.themes]
        return [hash_value([facts, texts, self._images.key(recipe, seed), seed]) for seed in case.seeds]

    def _compute(self, case: Case, recipe: Recipe, seeds: Sequence[int], keys: Sequence[str]) -> None:
        images = self._images.images(recipe, seeds)
        columns = self._judge(case, images)
        columns |= self._alone(case, images, seeds)
        paths = [self._images.path(self._images.key(recipe, seed)) for seed in seeds]
        columns |= {scorer.name: np.array(scorer.score(paths, case.content)) for scorer in self._quality}
        rows = [
            {"key": key, "scores": {name: _or_none(values[row]) for name, values in columns.items()}}
            for row, key in enumerate(keys)
        ]
        append_rows(self._path, rows)
        self._known |= {row["key"]: row["scores"] for row in rows}

    def _judge(self, case: Case, images: Sequence[Image.Image]) -> Columns:
        """Return the scores that need the images alone."""
        judges = self._world.judges
        features = image_features(judges.clip, images)
        columns = {
            "prompt similarity": similarity(features, text_features(judges.clip, [case.prompt])),
            "VQAScore": vqa_score(judges, images, case.content),
        }
        for number, sha256 in enumerate(case.loaded, start=1):
            columns[f"own {number}"] = similarity(features, self._own(sha256))
            columns[f"crop {number}"] = self._best_crop(images, self._own(sha256))
        if judges.classifier and case.themes:
            shown = detect(judges.classifier, images, case.themes)
            columns |= {f"shown {number}": values for number, values in enumerate(shown, start=1)}
            columns["all shown"] = np.prod(shown, axis=0)
        return columns

    def _alone(self, case: Case, images: Sequence[Image.Image], seeds: Sequence[int]) -> Columns:
        """Return the cosines with the images that each loaded adapter makes alone."""
        clip = self._world.judges.clip
        features = image_features(clip, images).astype(np.float64)
        columns = {}
        for number, sha256 in enumerate(case.loaded, start=1):
            alone = self._images.images(Recipe(case.prompt, (Part(sha256),)), seeds)
            columns[f"alone {number}"] = (features * image_features(clip, alone)).sum(axis=1)
        return columns

    def _best_crop(self, images: Sequence[Image.Image], own: Float32Array) -> Float64Array:
        """Return for each image the similarity of its crop that is most like an adapter's own images."""
        crops = [crop for image in images for crop in crops_of(image)]
        scores = similarity(image_features(self._world.judges.clip, crops), own)
        best: Float64Array = scores.reshape(len(images), -1).max(axis=1)
        return best

    def _own_features(self, sha256: str) -> Float32Array:
        return image_features(self._world.judges.clip, self._world.renderings(sha256))


def crops_of(image: Image.Image) -> Iterator[Image.Image]:
    """Yield the middle of an image and its four corners, each with CROP_SHARE of the sides."""
    width, height = round(image.width * CROP_SHARE), round(image.height * CROP_SHARE)
    right, bottom = image.width - width, image.height - height
    for left, top in ((right // 2, bottom // 2), (0, 0), (right, 0), (0, bottom), (right, bottom)):
        yield image.crop((left, top, left + width, top + height))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
