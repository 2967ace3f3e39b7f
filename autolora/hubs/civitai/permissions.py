"""Civitai's four permission fields: as the text of a license, and in the form that all hubs share."""

import re

from autolora.hubs.civitai.schema import ModelEntry
from autolora.records import Permissions


def license_of(entry: ModelEntry) -> str | None:
    """Return Civitai's four permission fields as one line of text; None if all are unknown."""
    uses = _commercial_uses(entry)
    fields = {
        "commercial": None if uses is None else "+".join(uses) or "None",
        "derivatives": _yes_no(entry.allowDerivatives),
        "different-license": _yes_no(entry.allowDifferentLicense),
        "credit": None if entry.allowNoCredit is None else "free" if entry.allowNoCredit else "needed",
    }
    text = ", ".join(f"{name}={value}" for name, value in fields.items() if value)
    return f"civitai: {text}" if text else None


def permissions_of(entry: ModelEntry) -> Permissions:
    """Return the permission fields in the form that all hubs share.

    Commercial use is any paid use outside of Civitai: Image (selling images), Rent or Sell.
    """
    uses = _commercial_uses(entry)
    return Permissions(
        commercial=None if uses is None else bool({"Image", "Rent", "Sell"} & set(uses)),
        derivatives=entry.allowDerivatives,
        credit=None if entry.allowNoCredit is None else not entry.allowNoCredit,
    )


def _commercial_uses(entry: ModelEntry) -> list[str] | None:
    """Return the allowed uses, sorted. Civitai sends a list, one word, or `{Image,Rent}`; None if unknown."""
    value = entry.allowCommercialUse
    if value is None:
        return None
    words = re.findall(r"\w+", value if isinstance(value, str) else " ".join(value), re.ASCII)
    return sorted({word[:40] for word in words} - {"None"})[:10]


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"
