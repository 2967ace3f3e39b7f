"""Captions on disk: data/captions/captions.jsonl, and the recipe that they are made by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from autolora.records import Caption
from autolora.storage.files import Row, read_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import digest_path, read_digest

ENCODED = Path("cache", "fusion_texts")
"""folder of what the trainings of gates have encoded of captions"""


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe:
    """What the stage `captions` makes captions by, and the precision in which trainings load the base model."""

    instructions: Mapping[str, str]
    """by length: short, medium and long"""
    max_tokens: int
    max_image_side: int
    """px; a larger image is downsized"""
    vlm: str
    """digest of the VLM, with the commit if it is a model of a hub"""
    dtype: str
    """of the base model; a caption is not asked again if it changes"""

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self)

    def made(self, caption: Caption) -> bool:
        """Return whether a caption is of this recipe."""
        return caption.vlm == self.vlm and caption.prompt in self._prompts

    @cached_property
    def _prompts(self) -> frozenset[str]:
        """The digests of all prompts: of images that are sent as they are, and of downsized ones."""
        return frozenset(
            prompt_digest(instruction, self.max_tokens, downsized_to)
            for instruction in self.instructions.values()
            for downsized_to in (None, self.max_image_side)
        )


def encoded_path(root: Path, text: str, encoder: str) -> Path:
    """Return the path of what a text encoder computes of a caption; its name begins with the text's hash.

    encoder: digest of the encoder.
    """
    key = hash_value(text)
    return root / ENCODED / key[:2] / f"{key}-{encoder[:16]}.safetensors"


def prompt_digest(instruction: str, max_tokens: int, downsized_to: int | None = None) -> str:
    """Return the digest that identifies a prompt: its instruction, its token limit and the size of a downsized image.

    downsized_to: longer side in px; None if the image is sent as it is.
    """
    return hash_value([instruction, max_tokens, *([downsized_to] if downsized_to else [])])


def read_recipe(root: Path) -> CaptionRecipe | None:
    """Return the recipe of the captions on disk; None if the stage `captions` has not run."""
    if not digest_path(root, "captions").exists():
        return None
    row = read_digest(root, "captions").get("recipe")
    return CaptionRecipe(**row) if row else None


def read_captions(root: Path) -> list[Caption]:
    """Return all stored captions, in the order of the file."""
    return [Caption(**row) for row in read_rows(captions_path(root))]


def captions_path(root: Path) -> Path:
    """Return the path of the captions file."""
    return root / "data" / "captions" / "captions.jsonl"
