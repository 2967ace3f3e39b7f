"""What a captioning engine is asked and what it returns, one image at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LONGER = 2
"""how many times as many tokens an answer may have that was cut at the limit"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionRequest:
    """One image and all instructions that it is captioned with."""

    image: Path
    instructions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A caption of one image."""

    position: int
    """of the request"""
    instruction: str
    text: str
    cut: bool = False
    """whether it was longer than the limit, so that its end is missing"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedImage:
    """An image that the engine could not caption; its remaining instructions were not sent."""

    position: int
    """of the request"""
    reason: str


class Captioner(Protocol):
    """An engine that captions images."""

    def describe(
        self, requests: Sequence[CaptionRequest], max_tokens: int, max_image_side: int
    ) -> Iterator[Answer | FailedImage]:
        """Yield the captions of all images, in the order in which the engine finishes them.

        All instructions of one image are answered after each other, so that the image is read and encoded once.
        Decoding is greedy and stops after `max_tokens` tokens. An answer that is cut there is asked for once more with
        LONGER times as many; if it is cut again, it ends with its last whole sentence or word. An image whose longer
        side exceeds `max_image_side` px is downsized. An image that fails does not affect the others. Raises
        CaptionError if the engine itself fails; the other captions are yielded before the error is raised.
        """
        ...
