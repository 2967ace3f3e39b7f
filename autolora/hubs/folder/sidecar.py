"""Parsing of sidecars: `NAME.json` describes the LoRA file `NAME.safetensors`; each field is checked.

Beside it, or instead of it, there may be sidecars of other programs (autolora/hubs/folder/manager_sidecars.py) and the
model card README.md.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from autolora.hubs.descriptions import describe
from autolora.hubs.folder.manager_sidecars import (
    WEBUI_FIELDS,
    read_civitai_info,
    read_lora_manager,
    read_webui,
)
from autolora.hubs.folder.sidecar_fields import Sidecar, SidecarImage, merge
from autolora.hubs.huggingface.card import NSFW_TAG, base_model_of, images_of, license_of
from autolora.hubs.validation import (
    as_list,
    clean_text,
    clean_texts,
    is_image,
    is_safe_path,
    short_repr,
    valid_bool,
)
from autolora.records import NSFW_LEVELS

MAX_SIDECAR_BYTES = 8 << 20
"""those of Civitai contain the workflows of images"""
MODEL_CARD = "README.md"
"""of a repository that was downloaded from Hugging Face"""
MAX_CARD_BYTES = 64 << 10
"""that are read of it: the fields come first, and reading YAML is slow"""
FENCE = b"---"


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases: front matter needs none, and a kilobyte of them can state billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are refused")
        return super().compose_node(parent, index)


def read_json(text: bytes) -> Mapping[str, Any]:
    """Return the object in the text of a sidecar. Raises ValueError if it is not a JSON object."""
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"expected a JSON object, got {short_repr(content)}")
    return content


def parse_sidecar(text: bytes) -> tuple[Sidecar, tuple[str, ...]]:
    """Return the sidecar NAME.json, and one message per field that is unknown or not valid.

    Raises ValueError if the text is not a JSON object, or if a field of SAFETY_FIELDS is not valid.
    """
    content = read_json(text)
    fields: dict[str, Any] = {}
    problems = [
        f"unknown field {short_repr(name)}, expected one of {', '.join(PARSERS)}"
        for name in content
        if name not in PARSERS and name not in WEBUI_FIELDS
    ]
    for name, (parse, expected) in PARSERS.items():
        if (value := content.get(name)) is not None:
            fields[name] = parse(value)
            if fields[name] is None and name in SAFETY_FIELDS:
                raise ValueError(f"{name} must be {expected}, not {short_repr(value)}")
            if fields[name] is None:
                problems.append(f"{name} must be {expected}, not {short_repr(value)}")
    return merge((Sidecar(**fields), read_webui(content))), tuple(problems)


def parse_civitai_info(text: bytes) -> tuple[Sidecar, tuple[str, ...]]:
    """Return the sidecar NAME.civitai.info. Raises ValueError as `parse_sidecar`."""
    return read_civitai_info(read_json(text)), ()


def parse_lora_manager(text: bytes) -> tuple[Sidecar, tuple[str, ...]]:
    """Return the sidecar NAME.metadata.json. Raises ValueError as `parse_sidecar`."""
    return read_lora_manager(read_json(text)), ()


def _parse_level(value: Any) -> str | None:
    return value if isinstance(value, str) and value in NSFW_LEVELS else None


def _parse_words(value: Any) -> tuple[str, ...] | None:
    return clean_texts(value) if isinstance(value, list) else None


def _parse_images(value: Any) -> tuple[SidecarImage, ...] | None:
    """Return the images of a list of paths or of objects with a path; None if one of them is not valid."""
    images = [_parse_image(item) for item in value] if isinstance(value, list) else [None]
    valid = tuple(image for image in images if image)
    return valid if len(valid) == len(images) else None


def _parse_image(value: Any) -> SidecarImage | None:
    entry = value if isinstance(value, Mapping) else {"path": value}
    path = entry.get("path")
    if not isinstance(path, str) or not is_safe_path(path) or not is_image(path):
        return None
    return SidecarImage(
        path=path, prompt=clean_text(entry.get("prompt")), nsfw_level=_parse_level(entry.get("nsfw_level"))
    )


SAFETY_FIELDS = ("nsfw_level", "person", "minor")
"""fields that rules reject files by: if one of them is not valid, the file is skipped"""
PARSERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "license": (clean_text, "text"),
    "base_model": (clean_text, "text"),
    "trigger_words": (_parse_words, "a list of texts"),
    "nsfw_level": (_parse_level, f"one of {', '.join(NSFW_LEVELS)}"),
    "person": (valid_bool, "true or false"),
    "minor": (valid_bool, "true or false"),
    "renderings": (
        _parse_images,
        "a list of relative paths of images, or of objects with path, prompt, nsfw_level",
    ),
}
"""field -> its parser, which returns None for an invalid value, and the expected value in words"""

SIDECARS: Mapping[str, Callable[[bytes], tuple[Sidecar, tuple[str, ...]]]] = {
    ".json": parse_sidecar,
    ".metadata.json": parse_lora_manager,
    ".civitai.info": parse_civitai_info,
}
"""end of a sidecar's name -> its parser, in order of precedence"""


def parse_model_card(text: bytes, files: frozenset[str]) -> Sidecar:
    """Return license, base model, trigger words, rating and images of a model card; nothing if it has no fields.

    text: of a README.md, at least its fields. files: paths below its folder, of which images may be listed.
    Raises ValueError if the fields are not valid YAML.
    """
    card = _read_card(text)
    images = dict(images_of(card, files, "./"))
    return Sidecar(
        license=license_of(card, []),
        base_model=base_model_of(card, []),
        trigger_words=clean_texts(card.get("instance_prompt")) or None,
        description=describe(None, as_list(card.get("tags"))),
        nsfw_level="mature" if NSFW_TAG in as_list(card.get("tags")) else None,
        renderings=tuple(SidecarImage(path=path, prompt=prompt) for path, prompt in images.items()) or None,
    )


def _read_card(text: bytes) -> Mapping[str, object]:
    """Return the fields between the first line and the next that is `---`; empty if there are none."""
    first, *lines = text.splitlines() or [b""]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == FENCE]
    if first.rstrip() != FENCE or not ends:
        return {}
    try:
        content = yaml.load(b"\n".join(lines[: ends[0]]), PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError("its fields are not valid YAML") from error
    return content if isinstance(content, Mapping) else {}
