"""Normalization of hub labels: base models, licenses and content ratings, in one form for all hubs."""

import re

from autolora.records import NSFW_LEVELS, Permissions

BASES_BY_WORDS = {
    ("d",): "flux.1-dev",
    ("dev",): "flux.1-dev",
    ("s",): "flux.1-schnell",
    ("schnell",): "flux.1-schnell",
    ("krea",): "flux.1-krea",
    ("krea", "dev"): "flux.1-krea",
    ("kontext",): "flux.1-kontext",
    ("kontext", "dev"): "flux.1-kontext",
    ("fill",): "flux.1-fill",
    ("fill", "dev"): "flux.1-fill",
}
"""words of a label besides `FLUX`, numbers and FORMAT_WORDS -> base model"""

FORMAT_WORDS = {
    *("b", "bf", "bit", "bnb", "e", "exl", "fast", "fn", "fp", "int", "m", "nf", "q", "quantized", "scaled"),
    *("ckpt", "diffusers", "gguf", "mlx", "model", "onnx", "safetensors", "ungated"),
}
"""words that name the storage format of the weights, not another model"""

OPEN_SOURCE_LICENSES = (
    "apache", "artistic", "bsd", "gpl", "agpl", "lgpl", "isc", "mit", "mpl", "zlib", "afl", "ecl", "ms",
)  # fmt: skip
"""first words of licenses that allow every use and require the author's notice"""

PUBLIC_DOMAIN_LICENSES = ("cc0", "0bsd", "unlicense", "wtfpl", "pddl")
"""first words of licenses that allow every use without conditions"""

_UNKNOWN = Permissions(commercial=None, derivatives=None, credit=None)


def normalize_base(label: str | None) -> str | None:
    """Return the base model that a hub's label names, as in `records.Listing.base`.

    The owner of a repository name is ignored. Quantized copies count as their original, fine-tunes as
    `other`. None if the label is empty or names FLUX.1 without a variant.
    """
    words = re.findall(r"[a-z]+|\d+", label.lower().rpartition("/")[2]) if label else []
    if not words:
        return None
    if "flux" not in words:
        return "other"
    version = words[words.index("flux") + 1 :][:1]
    if version == ["2"]:
        return "flux.2"
    if version and version[0].isdigit() and version != ["1"]:
        return "other"
    variant = tuple(
        word for word in words if word != "flux" and not word.isdigit() and word not in FORMAT_WORDS
    )
    return BASES_BY_WORDS.get(variant, "other") if variant else None


def permissions_of(license: str | None) -> Permissions:
    """Return the permissions of a license, given its SPDX label or usual name; None for unknown fields."""
    words = re.findall(r"[a-z0-9]+", license.lower()) if license else []
    if not words:
        return _UNKNOWN
    if words[0] in PUBLIC_DOMAIN_LICENSES:
        return Permissions(commercial=True, derivatives=True, credit=False)
    if words[0] == "cc" and len(words) > 1:
        return _creative_commons(words)
    if "noncommercial" in words or ("non" in words and "commercial" in words):
        flux = words[0].startswith("flux")
        return Permissions(commercial=False, derivatives=flux or None, credit=flux or None)
    if words[0] in OPEN_SOURCE_LICENSES:
        return Permissions(commercial=True, derivatives=True, credit=True)
    if "openrail" in words:
        return Permissions(commercial=True, derivatives=True, credit=True if "m" in words else None)
    return _UNKNOWN


def _creative_commons(words: list[str]) -> Permissions:
    """Return the permissions of a label such as `cc-by-nc-nd-4.0`; BY requires credit."""
    if "by" not in words:
        return _UNKNOWN
    return Permissions(commercial="nc" not in words, derivatives="nd" not in words, credit=True)


def nsfw_level_of(rating: int | str | None) -> str | None:
    """Return Civitai's content rating as one of NSFW_LEVELS; None if there is no rating.

    An integer is a set of bits, of which the highest counts: PG 1, PG13 2, R 4, X 8, XXX 16, Blocked 32.
    Unknown higher bits count as blocked. A word is one of None, Soft, Mature, X, Blocked.
    """
    if isinstance(rating, str):
        return {**{level: level for level in NSFW_LEVELS}, "x": "explicit"}.get(rating.lower())
    if not rating or rating < 0:
        return None
    levels = ("none", "soft", "mature", "explicit", "explicit", "blocked")
    return levels[min(rating.bit_length(), len(levels)) - 1]


def is_nsfw(level: str | None) -> bool:
    """Return whether a level is known and above `soft`."""
    return level is not None and NSFW_LEVELS.index(level) > NSFW_LEVELS.index("soft")


def highest_level(*levels: str | None) -> str | None:
    """Return the most mature of the known levels; None if none is known."""
    return max((level for level in levels if level is not None), key=NSFW_LEVELS.index, default=None)
