"""Parsing of a README.md beside a LoRA file: the model card of a repository that was downloaded from Hugging Face."""

from collections.abc import Mapping

import yaml

from autolora.hubs.folder.sidecar_fields import Sidecar, SidecarImage
from autolora.hubs.huggingface.card import NSFW_TAG, base_model_of, images_of, license_of
from autolora.hubs.validation import as_list, clean_texts

MODEL_CARD = "README.md"
MAX_BYTES = 64 << 10
"""that are read: the fields come first, and reading YAML is slow"""
FENCE = b"---"


def parse_model_card(text: bytes, files: frozenset[str]) -> Sidecar:
    """Return license, base model, trigger words, rating and images of a model card; nothing if it has no fields.

    text: of a README.md, at least its fields. files: paths below its folder, of which images may be listed.
    Raises ValueError if the fields are not valid YAML.
    """
    card = _read_fields(text)
    images = dict(images_of(card, files, "./"))
    return Sidecar(
        license=license_of(card, []),
        base_model=base_model_of(card, []),
        trigger_words=clean_texts(card.get("instance_prompt")) or None,
        nsfw_level="mature" if NSFW_TAG in as_list(card.get("tags")) else None,
        renderings=tuple(SidecarImage(path=path, prompt=prompt) for path, prompt in images.items()) or None,
    )


def _read_fields(text: bytes) -> Mapping[str, object]:
    """Return the fields between the first line and the next that is `---`; empty if there are none."""
    first, *lines = text.splitlines() or [b""]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == FENCE]
    if first.rstrip() != FENCE or not ends:
        return {}
    try:
        content = yaml.safe_load(b"\n".join(lines[: ends[0]]))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError("its fields are not valid YAML") from error
    return content if isinstance(content, Mapping) else {}
