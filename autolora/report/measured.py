"""The numbers that were measured on this pool, in words; those of another pool or of an earlier state are left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.evaluation import store as evaluation_store
from autolora.evaluation.store import SEARCH, recall_of
from autolora.experiments import store as experiments_store
from autolora.stages import STAGES
from autolora.storage.files import read_json
from autolora.storage.incremental import digest_path

SHORT_DIGEST = 12
SHOWN = "both shown"
"""the metric of experiments that counts images with the themes of both adapters"""
RIGHT = {
    "theme": "of searches show an adapter of the requested theme first",
    "adapter": "of searches show the very adapter that the query describes first",
}
"""level of a recall -> the sentence about it"""

Part = Mapping[str, Any]
"""the report part of a stage"""


@dataclass(frozen=True, slots=True)
class Number:
    """A share that was measured."""

    share: str
    """percentage"""
    label: str
    """the sentence that begins with it"""
    note: str
    """what it was measured on, and what to compare it with"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured on this pool."""

    numbers: tuple[Number, ...]
    unmeasured: str
    """why the evaluation has no number; empty if it has some, or has not run"""
    left_out: tuple[str, ...]
    """phrases on report parts that belong to another state of the pool"""


def read_measured(root: Path) -> Measured:
    """Return the numbers whose inputs have the digests that the stages have now."""
    current = {stage: digest["sha256"] for stage, digest in read_digests(root).items()}
    parts = {
        "evaluation": evaluation_store.read_report(root),
        "experiments": experiments_store.read_report(root),
    }
    outdated = {name: _changed_inputs(part, current) for name, part in parts.items() if part}
    kept = {name: part for name, part in parts.items() if part and not outdated[name]}
    evaluation = kept.get("evaluation", {})
    return Measured(
        numbers=(*_searches(evaluation), *_fusion(kept.get("experiments", {}))),
        unmeasured=evaluation.get("unmeasured", ""),
        left_out=tuple(
            f"The numbers of {name} are left out, because they were measured with {' and '.join(inputs)}: run "
            f"`dvc repro {name}`."
            for name, inputs in outdated.items()
            if inputs
        ),
    )


def read_digests(root: Path) -> dict[str, dict[str, Any]]:
    """Return stage -> the content of its digest, for the stages that have run."""
    digests = {stage: read_json(digest_path(root, stage)) for stage in STAGES}
    return {stage: digest for stage, digest in digests.items() if digest}


def percent(share: float) -> str:
    """Return a share as a percentage; one decimal below 10 %."""
    digits = 0 if round(share, 3) >= 0.1 or share == 0 else 1
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _changed_inputs(part: Part, current: Mapping[str, str]) -> list[str]:
    """Return phrases on the stages whose digest was another one when a report part was measured."""
    inputs = {stage: sha256 for stage, sha256 in part["inputs"].items() if stage in STAGES}
    return [
        f"another state of {stage} ({sha256[:SHORT_DIGEST]}, now {current.get(stage, 'missing')[:SHORT_DIGEST]})"
        for stage, sha256 in inputs.items()
        if sha256 != current.get(stage)
    ]


def _searches(evaluation: Part) -> Iterator[Number]:
    for method, words in {SEARCH: "", "weights": ", by weights alone"}.items():
        if recall := recall_of(evaluation, method):
            chance = "" if recall.chance is None else f", chance {percent(recall.chance)}"
            yield Number(
                percent(recall.value),
                RIGHT[recall.level] + words,
                f"{_interval(recall.low, recall.high)}{chance}. {recall.queries} searches about "
                f"{evaluation['queried_adapters']} adapters that no model was trained on.",
            )


def _fusion(experiments: Part) -> Iterator[Number]:
    methods = experiments.get("scenarios", {}).get("pair", {}).get("methods", {})
    shown = {method: row[SHOWN] for method, row in methods.items() if SHOWN in row}
    if selected := shown.get("selected"):
        words = {
            "base": "without adapters",
            "direct": "as the plain sum of both",
            "gated": "through the gates",
        }
        others = [
            f"{percent(shown[method]['value'])} {text}" for method, text in words.items() if method in shown
        ]
        yield Number(
            percent(selected["value"]),
            "of images show both requested themes, summed from the relevant ones of two given adapters",
            f"{', '.join(others)}. {_interval(selected['low'], selected['high'])}, {selected['n']} images. "
            "Images for which the adapters are chosen from the whole pool are measured apart (docs/results.md).",
        )


def _interval(low: float, high: float) -> str:
    return f"95 % interval {percent(low)} to {percent(high)}"
