"""How a generated image was made, as its PNG states it; reading it needs neither torch nor a repository."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.catalog.names import full_name
from autolora.errors import MissingArtifact

PROVENANCE_CHUNK = "autolora"
"""keyword of the text chunk of a PNG that holds the provenance"""


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance of a PNG that `save_image` has written.

    Raises MissingArtifact if the file is not a readable image, or an image without a valid provenance.
    """
    try:
        with Image.open(path) as image:
            image.load()
            text = image.info.get(PROVENANCE_CHUNK)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MissingArtifact(f"cannot read {path} as an image: {error}") from error
    if text is None:
        raise MissingArtifact(
            f"{path} contains no provenance: `autolora generate` did not write it, or another program saved it again"
        )
    try:
        provenance: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise MissingArtifact(f"the provenance in {path} is not valid JSON: {error}") from error
    return provenance


def describe_provenance(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return how an image was made, as label -> text; one line per adapter.

    Raises MissingArtifact if a field is missing.
    """
    try:
        return _describe(provenance)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingArtifact(
            f"the provenance has no valid field {error}: another version of AutoLoRA wrote it; show it with --json"
        ) from error


def _describe(provenance: Mapping[str, Any]) -> dict[str, str]:
    settings = provenance["generation"]
    base = provenance["base"]
    rows = {
        "prompt": provenance["prompt"],
        "prompt with trigger words": provenance.get("text", ""),
        "adapters": "\n".join(map(_describe_adapter, provenance["adapters"])) or "none: the base model alone",
        "method": provenance["method"],
        "seed": str(provenance["seed"]),
        "size": f"{settings['width']} x {settings['height']} px",
        "steps": str(settings["steps"]),
        "guidance": str(settings["guidance"]),
        "base model": f"{base['pipeline']}@{base['revision']}" if base["revision"] else base["pipeline"],
        "index": provenance["index"],
        "gates": provenance["gates"],
        "autolora": provenance["autolora"],
    }
    if rows["prompt with trigger words"] == rows["prompt"]:
        del rows["prompt with trigger words"]
    return {label: text for label, text in rows.items() if text}


def _describe_adapter(adapter: Mapping[str, Any]) -> str:
    parts = [
        full_name(adapter["hub"], adapter["id"], adapter["file"]),
        f"sha256 {adapter['sha256'][:8]}",
        f"license {adapter['license'] or 'unknown'}",
        f"score {adapter['score']:.3f}",
    ]
    if adapter.get("relevance") is not None:
        parts.append(f"relevance {adapter['relevance']:.2f}")
    if adapter.get("strength", 1.0) != 1.0:
        parts.append(f"strength {adapter['strength']:g}")
    if adapter["trigger_words"]:
        parts.append(f"trigger words: {', '.join(adapter['trigger_words'])}")
    return "; ".join(parts)
