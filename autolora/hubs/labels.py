"""What the hubs' labels mean: base models, licenses and maturity, in one form for all of them."""

import re

from autolora.records import NSFW_LEVELS, Permissions

BASES = {
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
"""what follows `FLUX.1` in a label, in words"""

PACKAGING = {
    *("b", "bf", "bit", "bnb", "e", "exl", "fast", "fn", "fp", "int", "m", "nf", "q", "quantized", "scaled"),
    *("ckpt", "diffusers", "gguf", "mlx", "model", "onnx", "safetensors", "ungated"),
}
"""words that say how the same weights are stored"""

FREE = ("apache", "artistic", "bsd", "gpl", "agpl", "lgpl", "isc", "mit", "mpl", "zlib", "afl", "ecl", "ms")
"""first words of licenses that allow everything to whoever keeps the author's notice"""

WAIVED = ("cc0", "0bsd", "unlicense", "wtfpl", "pddl")
"""first words of licenses that ask for nothing"""

_UNSAID = Permissions(commercial=None, derivatives=None, credit=None)


def normalize_base(label: str | None) -> str | None:
    """Return the base model that a hub's label means, as in `records.Listing.base`.

    A repository's name counts without its owner; quantized copies are what they are copies of, fine-tunes are
    `other`. None where the label says nothing, or only FLUX.1 and not which.
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
    rest = tuple(word for word in words if word != "flux" and not word.isdigit() and word not in PACKAGING)
    return BASES.get(rest, "other") if rest else None


def permissions_of(license: str | None) -> Permissions:
    """Return what a license allows, by its SPDX-like label or its usual name; None fields where it is not known."""
    words = re.findall(r"[a-z0-9]+", license.lower()) if license else []
    if not words:
        return _UNSAID
    if words[0] in WAIVED:
        return Permissions(commercial=True, derivatives=True, credit=False)
    if words[0] == "cc" and len(words) > 1:
        return _creative_commons(words)
    if "noncommercial" in words or ("non" in words and "commercial" in words):
        flux = words[0].startswith("flux")
        return Permissions(commercial=False, derivatives=flux or None, credit=flux or None)
    if words[0] in FREE:
        return Permissions(commercial=True, derivatives=True, credit=True)
    if "openrail" in words:
        return Permissions(commercial=True, derivatives=True, credit=True if "m" in words else None)
    return _UNSAID


def _creative_commons(words: list[str]) -> Permissions:
    """Read `cc-by-nc-nd-4.0` and its like; credit is what BY asks for."""
    if "by" not in words:
        return _UNSAID
    return Permissions(commercial="nc" not in words, derivatives="nd" not in words, credit=True)


def level_of(rating: int | str | None) -> str | None:
    """Return the maturity that Civitai means, one of NSFW_LEVELS; None where nothing is rated.

    In bits the highest counts: PG 1, PG13 2, R 4, X 8, XXX 16, Blocked 32; one that is not known yet is blocked.
    In words: None, Soft, Mature, X, Blocked.
    """
    if isinstance(rating, str):
        return {**{level: level for level in NSFW_LEVELS}, "x": "explicit"}.get(rating.lower())
    if not rating or rating < 0:
        return None
    bits = ("none", "soft", "mature", "explicit", "explicit", "blocked")
    return bits[min(rating.bit_length(), len(bits)) - 1]


def is_nsfw(level: str | None) -> bool:
    """Tell whether a maturity is above soft; one that is not told is not."""
    return level is not None and NSFW_LEVELS.index(level) > NSFW_LEVELS.index("soft")


def highest(*levels: str | None) -> str | None:
    """Return the most mature of some levels; None where none is told."""
    return max((level for level in levels if level is not None), key=NSFW_LEVELS.index, default=None)
