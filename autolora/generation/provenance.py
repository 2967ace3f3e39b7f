"""How a generated image was made, as its PNG states it; reading it needs neither torch nor a repository."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.catalog.names import full_name
from autolora.errors import MissingArtifact
from autolora.params import GenerationParams, ModelsParams
from autolora.records import Hit
from autolora.wording import printable

PROVENANCE_CHUNK = "autolora"
"""keyword of the text chunk of a PNG that holds the provenance"""
LIBRARIES = ("torch", "diffusers", "transformers")
"""whose version can change the pixels of an image"""
MAX_PX = 50_000_000
"""of an image whose provenance is read: the text follows the pixels, so these are decoded"""
MAX_DEPTH = 50
"""of a provenance: what prints, compares or sends it visits its values recursively"""


def record_inputs(
    base: ModelsParams, prompt: str, hits: Sequence[Hit], params: GenerationParams
) -> dict[str, Any]:
    """Return the inputs of an image, and the names and licenses of its adapters.

    The method is left out: that of the params is only the default of what the image is drawn with.
    """
    return {
        "autolora": version("autolora"),
        "prompt": prompt,
        "adapters": [
            {
                "sha256": hit.sha256,
                "hub": hit.hub,
                "id": hit.id,
                "file": hit.file,
                "license": hit.license,
                "score": float(hit.score),
                "relevance": None if hit.relevance is None else float(hit.relevance),
                "strength": float(hit.strength),
                "trigger_words": list(hit.trigger_words),
            }
            for hit in hits
        ],
        "index": hits[0].index if hits else None,
        "base": {
            "pipeline": base.pipeline
            if base.pipeline_revision
            else Path(base.pipeline).name,  # a path is private
            "revision": base.pipeline_revision,
            "dtype": base.dtype,
            "quantization": base.memory if base.memory in ("8bit", "4bit") else None,
        },
        "libraries": {name: version(name) for name in LIBRARIES},
        "generation": {name: value for name, value in asdict(params).items() if name != "method"},
    }


def check_is_png(path: Path) -> None:
    """Raise ValueError if a file to write an image to does not end in .png."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} must be a file that ends in .png")


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Return the provenance of a PNG that `save_image` has written.

    Raises MissingArtifact if the file is not a readable PNG of at most MAX_PX, or one without a valid provenance.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PX:
                raise ValueError(f"it has {image.width} x {image.height} px, but at most {MAX_PX} are read")
            image.load()
            text = image.info.get(PROVENANCE_CHUNK)
    except FileNotFoundError as error:
        raise MissingArtifact(f"{path} does not exist: give a PNG that `autolora generate` wrote") from error
    except Exception as error:  # Pillow raises many types on damaged files
        raise MissingArtifact(f"{path} is not a PNG that can be read: {error}") from error
    if text is None:
        raise MissingArtifact(
            f"{path} contains no provenance: `autolora generate` did not write it, or another program saved it again"
        )
    try:
        provenance = json.loads(text)
        # Python also reads NaN, Infinity and halves of surrogate pairs, which nothing can print or send
        json.dumps(provenance, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise MissingArtifact(f"the provenance in {path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise MissingArtifact(f"the provenance in {path} is nested too deeply") from error
    if _is_deeper(provenance, MAX_DEPTH):
        raise MissingArtifact(f"the provenance in {path} is nested too deeply")
    if not isinstance(provenance, dict):
        raise MissingArtifact(f"the provenance in {path} has no valid field: it is not a JSON object")
    return provenance


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether a JSON value has more than `depth` levels of objects and lists."""
    level = [value]
    for _ in range(depth + 1):
        inner = [item for item in level if isinstance(item, dict | list)]
        if not inner:
            return False
        level = [part for item in inner for part in (item.values() if isinstance(item, dict) else item)]
    return True


def describe_provenance(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return how an image was made, as label -> text; one line per adapter.

    Raises MissingArtifact if a field is missing.
    """
    try:
        return _describe(provenance)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise MissingArtifact(
            f"the provenance has no valid field {error}: another version of AutoLoRA wrote it; show it with --json"
        ) from error


def describe_method(method: str, acting: int) -> str:
    """Return how adapters act together. acting: number of adapters that act."""
    return method if acting else "none: no adapter acts"


def describe_strength(strength: float) -> str:
    """Return the strength of an adapter; an empty text for 1."""
    if strength == 0:
        return "strength 0 (does not act)"
    return "" if strength == 1 else f"strength {strength:g}"


def _describe(provenance: Mapping[str, Any]) -> dict[str, str]:
    settings = provenance["generation"]
    base = provenance["base"]
    adapters = [_describe_adapter(adapter) for adapter in provenance["adapters"]]
    rows = {
        "prompt": provenance["prompt"],
        "prompt with trigger words": provenance.get("text", ""),
        "adapters": "\n".join(adapters) or "none: the base model alone",
        "method": describe_method(provenance["method"], _count_acting(provenance)),
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
    return {label: printable(str(text)) for label, text in rows.items() if text}


def _count_acting(provenance: Mapping[str, Any]) -> int:
    return sum(adapter.get("strength", 1.0) != 0 for adapter in provenance["adapters"])


def _describe_adapter(adapter: Mapping[str, Any]) -> str:
    parts = [
        full_name(adapter["hub"], adapter["id"], adapter["file"]),
        f"sha256 {adapter['sha256'][:8]}",
        f"license {adapter['license'] or 'unknown'}",
        f"score {adapter['score']:.3f}",
    ]
    if adapter.get("relevance") is not None:
        parts.append(f"relevance {adapter['relevance']:.2f}")
    if strength := describe_strength(adapter.get("strength", 1.0)):
        parts.append(strength)
    if adapter["trigger_words"]:
        parts.append(f"trigger words: {', '.join(adapter['trigger_words'])}")
    return "; ".join(parts)
