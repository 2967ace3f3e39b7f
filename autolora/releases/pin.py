"""The pin: while cache/pin.json exists, refreshes build and report, but promote nothing."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.storage.files import read_json, write_atomic

PIN = Path("cache", "pin.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """Why the served index stays."""

    release: str
    """git revision that was served by hand"""
    day: str
    """YYYY-MM-DD"""
    reason: str

    def __str__(self) -> str:
        return f"{self.release} is pinned since {self.day} ({self.reason})"


def read_pin(root: Path) -> Pin | None:
    """Return the pin; None without one. Raises MissingArtifact if the file is damaged."""
    content = read_json(root / PIN)
    try:
        return None if content is None else Pin(**content)
    except TypeError as error:
        raise MissingArtifact(
            f"{root / PIN} is not a pin ({error}): delete it (`autolora versions lift`), or roll back again"
        ) from error


def write_pin(root: Path, pin: Pin) -> None:
    """Pin a release."""
    write_atomic(root / PIN, json.dumps(asdict(pin), indent=1) + "\n")


def lift_pin(root: Path) -> bool:
    """Remove the pin, and return whether there was one."""
    existed = (root / PIN).exists()
    (root / PIN).unlink(missing_ok=True)
    return existed
