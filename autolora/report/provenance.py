"""How a page was made: commit, presets, digests and dates, of what is there."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autolora.dataset import store as dataset
from autolora.params import Params
from autolora.report.cards import Card
from autolora.storage.git import history

SECTIONS = ("dataset", "encoder", "fusion", "generation", "evaluation", "experiments")
"""sections of params.yaml that say how the numbers came about; the others hold places of a machine"""
SHORT = 12


def provenance(
    root: Path, params: Params | None, cards: Sequence[Card], halves: Mapping[str, Mapping[str, Any] | None]
) -> list[tuple[str, str]]:
    """Return (what, value) for the page's last section; what is not known is left out.

    halves: the halves of the report by stage.
    """
    facts = _commit(root) + (_presets(params) if params else []) + _dates(root, cards)
    for stage, half in halves.items():
        if half and half.get("bootstrap"):
            seed = f", seed {half['seed']}" if "seed" in half else ""
            facts.append((stage, f"{half['bootstrap']} bootstrap resamples{seed}"))
        facts += [(f"{stage} of", f"{name} {value}") for name, value in _digests(half)]
    return facts


def parameters(params: Params | None) -> dict[str, dict[str, str]]:
    """Return section -> name -> value of the parameters that made the numbers."""
    if params is None:
        return {}
    values = asdict(params)
    return {
        section: {name: _text(value) for name, value in _flat(values[section]).items()}
        for section in SECTIONS
        if section in values
    }


def _commit(root: Path) -> list[tuple[str, str]]:
    commits = history(root, ".")[:1]
    return [("commit", f"{one.sha[:SHORT]} of {one.date[:10]}: {one.subject}") for one in commits]


def _presets(params: Params) -> list[tuple[str, str]]:
    found = {
        name: section.get("preset") for name, section in asdict(params).items() if isinstance(section, dict)
    }
    return [(f"preset of {name}", str(value)) for name, value in found.items() if value]


def _dates(root: Path, cards: Sequence[Card]) -> list[tuple[str, str]]:
    facts = []
    until = dataset.training(root).train_until
    if until:
        facts.append(("models learned from what was seen up to", until.isoformat()))
    if cards:
        days = [card.listing.first_seen for card in cards]
        facts.append(("adapters first seen", f"{min(days).isoformat()} to {max(days).isoformat()}"))
    return facts


def _digests(half: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    of = half.get("of", {}) if half else {}
    return [(name, value) for name, value in sorted(of.items()) if isinstance(value, str)]


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value.isoformat() if isinstance(value, datetime.date) else "–" if value is None else str(value)
