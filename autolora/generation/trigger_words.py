"""Whether the trigger words of an adapter change what it draws.

A word changes any image a little. So the change by a trigger word is compared with that by meaningless words of its
length, in images of one prompt from the same noise, all drawn with the adapter.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autolora.fusion.rules import Adapter
from autolora.generation.images import Generator, draw
from autolora.params import GenerationParams
from autolora.storage.arrays import Float64Array
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value

PROMPT = "an image"
"""to which the words are added: it asks for nothing, so that the words are all that can ask for the concept"""
SEEDS = (0, 1, 2, 3)
NUM_CONTROLS = 4
"""meaningless words per trigger word"""
MIN_RATIO = 1.5
"""a word has an effect if it changes images this many times as much as the meaningless word that changes them most"""

Draw = Callable[[Sequence[str]], list[Image.Image]]
"""from prompts to images, those of one prompt from SEEDS in order"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerWordCheck:
    """How much a trigger word changes what an adapter draws."""

    word: str
    change: float
    """mean absolute difference of pixels, 0 to 1, between images with and without the word"""
    control: float
    """the largest of such differences by meaningless words"""

    @property
    def has_effect(self) -> bool:
        """Whether the word changes images more than meaningless words do."""
        return self.change >= MIN_RATIO * self.control


def check_trigger_words(
    root: Path,
    load_generator: Callable[[], Generator],
    adapter: str,
    words: Sequence[str],
    params: GenerationParams,
    base: Sequence[str | None],
) -> list[TriggerWordCheck]:
    """Return the check of each trigger word of an adapter, named by its sha256; those of earlier calls are reused.

    load_generator: called if a check is missing in cache/trigger_words. base: name and revision of the pipeline.
    Raises MissingArtifact if the pipeline or the adapter's weights are missing.
    """
    path = root / "cache" / "trigger_words" / f"{adapter}.json"
    key = hash_value([adapter, list(words), PROMPT, asdict(params), list(base), SEEDS, NUM_CONTROLS])
    stored = _read(path)
    if stored.get("key") != key:
        generator = load_generator()
        parts = [Adapter(adapter, generator.load_lora(adapter))]

        def draw_all(prompts: Sequence[str]) -> list[Image.Image]:
            texts = [text for text in prompts for _ in SEEDS]
            return draw(generator, texts, parts, SEEDS * len(prompts), method="direct", params=params)

        checks = [asdict(compare(word, draw_all)) for word in words]
        stored = {"key": key, "checks": checks}
        write_atomic(path, json.dumps(stored))
    return [TriggerWordCheck(**row) for row in stored["checks"]]


def _read(path: Path) -> dict[str, Any]:
    """Return the checks in a file; empty if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def compare(word: str, draw: Draw) -> TriggerWordCheck:
    """Draw PROMPT without and with a word, and with meaningless words, and return the differences."""
    prompts = [PROMPT, *(f"{PROMPT}, {added}" for added in (word, *meaningless_words(word)))]
    images = draw(prompts)
    pixels = np.stack([np.asarray(image, dtype=np.float64) / 255 for image in images])
    by_prompt: Float64Array = pixels.reshape(len(prompts), len(SEEDS), -1)
    changes = np.abs(by_prompt[1:] - by_prompt[0]).mean(axis=(1, 2))
    return TriggerWordCheck(word=word, change=float(changes[0]), control=float(changes[1:].max()))


def meaningless_words(word: str) -> list[str]:
    """Return NUM_CONTROLS words of random letters, as long as a word; the same each time."""
    words = []
    for number in range(NUM_CONTROLS):
        rng = np.random.default_rng(list(hashlib.sha256(f"{number} {word}".encode()).digest()))
        words.append("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=max(len(word), 1))))
    return words
