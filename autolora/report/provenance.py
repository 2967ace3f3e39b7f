"""How the page's numbers were produced: commit, presets, digests, dates and parameters."""

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
"""sections of params.yaml that decide the numbers; the others name folders, servers and limits of a machine"""
SHORT_SHA = 12


def provenance(
    root: Path, params: Params | None, cards: Sequence[Card], parts: Mapping[str, Mapping[str, Any] | None]
) -> list[tuple[str, str]]:
    """Return (label, value) for the page's last section; unknown facts are left out.

    parts: the report parts by stage.
    """
    facts = _commit(root) + (_presets(params) if params else []) + _dates(root, cards)
    for stage, part in parts.items():
        if part and part.get("bootstrap"):
            seed = f", seed {part['seed']}" if "seed" in part else ""
            facts.append((stage, f"{part['bootstrap']} bootstrap resamples{seed}"))
        facts += [(f"{stage} input", f"{name} {value}") for name, value in _inputs(part)]
    return facts


def parameters(params: Params | None) -> dict[str, dict[str, str]]:
    """Return section -> name -> value of the parameters that decide the numbers."""
    if params is None:
        return {}
    values = asdict(params)
    return {
        section: {name.removesuffix("_"): _text(value) for name, value in _flatten(values[section]).items()}
        for section in SECTIONS
        if section in values
    }


def _commit(root: Path) -> list[tuple[str, str]]:
    commits = history(root, ".")[:1]
    return [
        ("commit", f"{commit.sha[:SHORT_SHA]} of {commit.date[:10]}: {commit.subject}") for commit in commits
    ]


def _presets(params: Params) -> list[tuple[str, str]]:
    """Return the presets of the models, or where the pretrained ones come from."""
    facts = []
    for name, section in (("encoder", params.encoder), ("fusion", params.fusion)):
        if section.from_ is None:
            facts.append((f"preset of {name}", str(section.preset)))
        else:
            revision = f" at {section.from_revision}" if section.from_revision else ""
            facts.append((f"{name}, pretrained", f"{section.from_}{revision}"))
    return facts


def _dates(root: Path, cards: Sequence[Card]) -> list[tuple[str, str]]:
    facts = []
    until = dataset.training_lock(root).train_until
    if until:
        facts.append(("training set: adapters first seen up to", until.isoformat()))
    if cards:
        days = [card.listing.first_seen for card in cards]
        facts.append(
            ("adapters on this page first seen", f"{min(days).isoformat()} to {max(days).isoformat()}")
        )
    return facts


def _inputs(part: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    inputs = part.get("inputs", {}) if part else {}
    return [(name, value) for name, value in sorted(inputs.items()) if isinstance(value, str)]


def _flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value.isoformat() if isinstance(value, datetime.date) else "–" if value is None else str(value)
