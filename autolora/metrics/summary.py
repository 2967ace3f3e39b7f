"""The measured numbers, written by the commands that measure them.

metrics/details.json has every number as a row: its value, interval and origin. metrics/summary.json has the values of
the dozen that decide something, for people and for `dvc metrics diff`, which makes a column of each value of a file.
"""

import datetime
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from autolora.metrics.numbers import rounded, to_json
from autolora.storage.files import read_json, write_atomic

SUMMARY = Path("metrics", "summary.json")
DETAILS = Path("metrics", "details.json")
DECISIVE = (
    "retrieval.theme_r_at_1_unseen",
    "retrieval.adapter_r_at_1_unseen",  # of a pool without judgments of themes
    "retrieval.weights_theme_r_at_1_unseen",
    "retrieval.other_words_r_at_1",
    "retrieval.selection_composite_exact",
    "retrieval.selection_triple_exact",
    "retrieval.selection_abstains_unrelated",
    "retrieval.selection_calibration_error",
    "fusion.end_to_end_selection_both_shown",
    "bench.cold_search_seconds",
    "bench.read_and_sketch_ratio_rank_16",
    "operation.refresh_20_new_seconds",
    "operation.false_promotions",
)
"""names of the numbers of metrics/summary.json; those that nothing has measured yet are absent from it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One number."""

    name: str
    """area.metric, e.g. `retrieval.theme_r_at_1_unseen`"""
    value: float
    low: float | None = None
    """lower bound of the 95 % interval; None if no interval applies"""
    high: float | None = None
    n: int
    """values that the number is a mean or median of"""
    better: Literal["higher", "lower"] = "higher"
    goal: float | None = None
    preset: str | None = None
    """preset of the model that is measured; None if no model is"""


def read_numbers(root: Path) -> dict[str, dict[str, Any]]:
    """Return name -> row of metrics/details.json; empty if the file does not exist."""
    return read_json(root / DETAILS) or {}


def update(root: Path, command: str, day: datetime.date, headlines: Iterable[Headline]) -> None:
    """Replace all rows of `command` in metrics/details.json by `headlines`, atomically, sorted by name; then write
    metrics/summary.json.

    day: when they were measured. A row whose numbers do not change retains its date, so that repeating a
    measurement with the same result writes nothing.
    """
    stored = read_numbers(root)
    rows = {name: row for name, row in stored.items() if row["command"] != command}
    for headline in headlines:
        row = rounded(asdict(headline)) | {"command": command}
        name, former = row.pop("name"), stored.get(headline.name, {})
        is_same = row == {key: value for key, value in former.items() if key != "date"}
        rows[name] = row | {"date": former["date"] if is_same else day.isoformat()}
    write_atomic(root / DETAILS, to_json(rows))
    decisive = {name: row["value"] for name, row in rows.items() if is_decisive(name)}
    write_atomic(root / SUMMARY, to_json(decisive))


def is_decisive(name: str) -> bool:
    """Return whether metrics/summary.json has a number, also if it was measured on the validation split."""
    return re.sub("_validation$", "_unseen", name) in DECISIVE
