"""Civitai's four permission fields: as the text of a license, and in the form that all hubs share."""

import re
from typing import Protocol

from autolora.records import Permissions


class PermissionFields(Protocol):
    """The four fields under Civitai's names; None is unknown."""

    @property
    def allowNoCredit(self) -> bool | None:
        """Whether the author need not be named."""

    @property
    def allowCommercialUse(self) -> list[str] | str | None:
        """The allowed paid uses."""

    @property
    def allowDerivatives(self) -> bool | None:
        """Whether changed versions may be shared."""

    @property
    def allowDifferentLicense(self) -> bool | None:
        """Whether these may have other permissions."""


def license_of(entry: PermissionFields) -> str | None:
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


def permissions_of(entry: PermissionFields) -> Permissions:
    """Return the permission fields in the form that all hubs share.

    Commercial use is any paid use outside of Civitai: Image (selling images), Rent or Sell.
    """
    uses = _commercial_uses(entry)
    return Permissions(
        commercial=None if uses is None else bool({"Image", "Rent", "Sell"} & set(uses)),
        derivatives=entry.allowDerivatives,
        credit=None if entry.allowNoCredit is None else not entry.allowNoCredit,
    )


def _commercial_uses(entry: PermissionFields) -> list[str] | None:
    """Return the allowed uses, sorted. Civitai sends a list, one word, or `{Image,Rent}`; None if unknown."""
    value = entry.allowCommercialUse
    if value is None:
        return None
    words = re.findall(r"\w+", value if isinstance(value, str) else " ".join(value), re.ASCII)
    return sorted({word[:40] for word in words} - {"None"})[:10]


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"
