"""What the tests of generation draw, and how they compare images."""

from typing import Any

import numpy as np
from PIL import Image

from autolora.generation.images import generate_images
from autolora.params import GenerationParams
from tests.support.tiny_flux import TOKENS

PARAMS = GenerationParams(
    width=32, height=32, steps=3, guidance=3.5, max_sequence_length=TOKENS, trigger_words=True, method="gated",
    batch=2,
)  # fmt: skip
PROMPT = "a red ball"


def generate_with(pipeline: Any) -> Image.Image:
    return generate_images(pipeline, [PROMPT], [5], PARAMS)[0]


def difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference of two images, in 1/255."""
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())
