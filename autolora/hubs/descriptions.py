"""What an author says that a LoRA does: title, tags, and the beginning of a description, as short texts."""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from autolora.hubs.validation import clean_text, is_private

MAX_TITLE_CHARS = 100
MAX_TAGS, MAX_TAG_CHARS = 20, 80
MAX_CHARS = 1000
"""of a description, whose beginning says what the LoRA does; the rest is how to use it"""
MAX_MARKUP_CHARS = 20_000
BLOCK = re.compile(
    r"</?(?:p|div|br|hr|[uo]l|li|h[1-6]|tr|table|pre|blockquote)\b[^<>]*>|\n\s*\n", re.IGNORECASE
)
"""what ends a paragraph"""
MARKUP = re.compile(
    r"""</?[A-Za-z!](?:[^<>"']|"[^"<]*"|'[^'<]*')*>|</?[A-Za-z!][^<>]*>|(?:https?://|www\.)[^\s<>]*[^\s<>.,;:!?)]"""
)
"""tags, also with > in an attribute, and addresses"""
SPACE_BEFORE_STOP = re.compile(r" (?=[.,;:!?](?:\s|$))")
SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+")
BOILERPLATE = re.compile(
    r"\b(?:patreon|ko-?fi|buy ?me ?(?:a ?)?coffee|boosty|(?:support|follow|donate to|subscribe to) (?:me|my|us|our)\b"
    r"|(?:my|our|the|on) discord|discord server|(?:my|our) other (?:models|loras)|donations?\b|commissions?\b"
    r"|early access|leave (?:a|your) (?:like|review|comment)|feel free to|let me know|thank you|thanks (?:to|for))",
    re.IGNORECASE,
)
"""what a sentence contains that asks for something, and says nothing about a LoRA"""
MIN_SHARING = 3
"""adapters that say something, from which it tells nothing about any of them"""
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


def leave_out_shared(said: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return adapter -> its texts without the sentences that several adapters share, such as advice and greetings.

    A sentence is shared if MIN_SHARING adapters say the same, digits alike, or have half of its triples of words.
    Adapters of equal texts, such as versions, count as one. Texts without an end of a sentence, such as titles, stay.
    """
    different = {tuple(texts) for texts in said.values()}
    found = [np.unique(np.fromiter(_hashes(texts), np.int64)) for texts in different]
    hashes, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *found]), return_counts=True)
    shared = frozenset(hashes[counts >= MIN_SHARING].tolist())
    kept = {texts: [" ".join(_unshared(text, shared)) for text in texts] for texts in different}
    return {adapter: list(filter(None, kept[tuple(texts)])) for adapter, texts in said.items()}


def _hashes(texts: Iterable[str]) -> Iterator[int]:
    """Yield the hashes of the sentences of texts, and of their triples of words."""
    for sentence in (sentence for text in texts for sentence in _sentences(text)):
        whole, triples = _hash_sentence(sentence)
        yield from (whole, *triples)


def _unshared(text: str, shared: frozenset[int]) -> Iterator[str]:
    """Yield the sentences of a text that are not shared."""
    for sentence in SENTENCE_END.split(text):
        whole, triples = _hash_sentence(sentence)
        is_shared = whole in shared or (
            triples and 2 * sum(triple in shared for triple in triples) >= len(triples)
        )
        if not (is_shared and _sentences(text)):
            yield sentence


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text; none if it has no end of a sentence."""
    return SENTENCE_END.split(text) if SENTENCE_END.search(f"{text} ") else []


def _hash_sentence(sentence: str) -> tuple[int, list[int]]:
    """Return the hash of a sentence, and those of its triples of words; digits are alike."""
    words = re.findall(r"\w+", re.sub(r"\d+", "0", sentence.lower()))
    return hash(tuple(words)), [hash(triple) for triple in zip(words, words[1:], words[2:], strict=False)]


def _plain(text: Any) -> str:
    """Return a text without HTML tags, addresses and boilerplate, on one line; each paragraph ends a sentence."""
    if not isinstance(text, str):
        return ""
    blocks = (MARKUP.sub(" ", block) for block in BLOCK.split(text[:MAX_MARKUP_CHARS]))
    lines = [
        SPACE_BEFORE_STOP.sub("", line) for block in blocks if (line := clean_text(html.unescape(block)))
    ]
    ended = [line if not line[-1].isalnum() else f"{line}." for line in lines[:-1]]
    sentences = SENTENCE_END.split(" ".join([*ended, *lines[-1:]]))
    return " ".join(sentence for sentence in sentences if not BOILERPLATE.search(sentence))


def _shorten(text: str) -> str:
    """Return the beginning of a text, up to the end of a word."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS].rpartition(' ')[0] or text[:MAX_CHARS]} …"
