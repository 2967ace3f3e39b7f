"""The themes of LoRAs: values that the base is not trained on, alone or mixed."""

from __future__ import annotations

from playground import world

KINDS: dict[str, tuple[str, ...]] = {
    "style": world.STYLES,
    "object": world.UNSEEN_OBJECTS,
    "palette": world.PALETTES,
    "scene": world.SCENES,
}
"""kind -> its themes"""
FIELDS = {"style": "style", "object": "object", "palette": "style", "scene": "background"}
"""kind -> the field of a scene that the themes are values of"""
MIXTURE, MIXED = "mixture", " + "
"""kind of a theme that consists of two, such as "cat + neon", and what is between their names"""

_KIND = {theme: kind for kind, names in KINDS.items() for theme in names}


def single_themes() -> tuple[str, ...]:
    """Return the themes that are no mixtures, kind by kind."""
    return tuple(_KIND)


def kind_of(theme: str) -> str:
    """Return the kind of a theme."""
    return MIXTURE if MIXED in theme else _KIND[theme]


def parts(theme: str) -> dict[str, str]:
    """Return the fields of a scene that a theme decides, with their values; a mixture decides two."""
    return {FIELDS[_KIND[name]]: name for name in theme.split(MIXED)}
