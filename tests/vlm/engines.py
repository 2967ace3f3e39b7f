"""Engines, what they are asked, and what they answer."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from autolora import vlm
from autolora.params import VllmParams, load

ROOT = Path(__file__).parents[2]
VALUES = load(ROOT / "params.yaml")
MODELS = replace(VALUES.models, vlm=str(ROOT / "playground/models/vlm"), threads=1)


def connect(*urls: str, model: str = "name", attempts: int = 3, concurrency: int = 3) -> vlm.VllmClient:
    return vlm.VllmClient(VllmParams(urls=urls, timeout_s=60, attempts=attempts), model, concurrency)


def describe(
    engine: vlm.Captioner,
    images: Sequence[Path],
    *instructions: str,
    max_tokens: int = 9,
    max_side: int = 1024,
) -> list[vlm.Answer | vlm.FailedImage]:
    """Return the results for images that are captioned with the same instructions."""
    asked = instructions or ("Describe it.",)
    requests = [vlm.CaptionRequest(image=image, instructions=asked) for image in images]
    return list(engine.describe(requests, max_tokens, max_side))


def answer(
    text: str = "a red house", position: int = 0, instruction: str = "Describe it.", cut: bool = False
) -> vlm.Answer:
    return vlm.Answer(position=position, instruction=instruction, text=text, cut=cut)


def image_of(request: dict[str, Any]) -> Image.Image:
    """Return the image of a request."""
    data = request["messages"][0]["content"][0]["image_url"]["url"].split(",")[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))
