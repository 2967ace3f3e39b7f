"""What an author says that a LoRA does: title, tags, and the beginning of a description, as short texts."""

import html
import re
from collections.abc import Iterable
from typing import Any

from autolora.hubs.validation import clean_text, is_private

MAX_TITLE_CHARS = 100
MAX_TAGS, MAX_TAG_CHARS = 20, 80
MAX_CHARS = 300
"""of a description, whose beginning says what the LoRA does; the rest is how to use it"""
MAX_MARKUP_CHARS = 20_000
MARKUP = re.compile(r"</?[A-Za-z!][^<>]*>|https?://\S+")
SPACE_BEFORE_STOP = re.compile(r" (?=[.,;:!?](?:\s|$))")
TECHNICAL = frozenset({
    "", "adapter", "ai-toolkit", "diffusers", "diffusion-lora", "dreambooth", "en", "flux", "flux-diffusers", "flux.1",
    "flux.1-dev", "flux1", "image-generation", "lora", "none", "not-for-all-audiences", "peft", "replicate",
    "safetensors", "simpletuner", "stable-diffusion", "template", "text-to-image",
})  # fmt: skip
"""tags that say how a file was made and not what it does"""


def describe(title: Any, tags: Iterable[Any] = (), text: Any = None) -> tuple[str, ...]:
    """Return the texts that there are: title, tags separated by commas, and the beginning of a text with markup.

    Values come from hubs and files: those of another type count as missing, and so do texts with a path of a machine.
    """
    words = filter(None, (clean_text(tag) for tag in tags))
    kept = [word[:MAX_TAG_CHARS] for word in words if ":" not in word and word.lower() not in TECHNICAL]
    texts = (
        (clean_text(title) or "")[:MAX_TITLE_CHARS],
        ", ".join(list(dict.fromkeys(kept))[:MAX_TAGS]),
        _shorten(_plain(text)),
    )
    return tuple(dict.fromkeys(text for text in texts if text and not is_private(text)))


def _plain(text: Any) -> str:
    """Return a text without HTML tags and addresses, on one line."""
    if not isinstance(text, str):
        return ""
    words = clean_text(html.unescape(MARKUP.sub(" ", text[:MAX_MARKUP_CHARS]))) or ""
    return SPACE_BEFORE_STOP.sub("", words)


def _shorten(text: str) -> str:
    """Return the beginning of a text, up to the end of a word."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS].rpartition(' ')[0] or text[:MAX_CHARS]} …"
