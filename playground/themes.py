"""The themes of LoRAs: values that the base is not trained on."""

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

_KIND = {theme: kind for kind, names in KINDS.items() for theme in names}


def single_themes() -> tuple[str, ...]:
    """Return all themes, kind by kind."""
    return tuple(_KIND)


def kind_of(theme: str) -> str:
    """Return the kind of a theme."""
    return _KIND[theme]


def parts(theme: str) -> dict[str, str]:
    """Return the field of a scene that a theme decides, with its value."""
    return {FIELDS[_KIND[theme]]: theme}
