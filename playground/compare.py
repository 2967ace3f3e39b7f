"""Command: compare the built playground with the committed one.

    python -m playground.compare [--rev REV]

On the same kind of machine, training is reproducible to the bit: all files are equal except the LoRAs of higher rank,
of which the committed ones were resized after they had been stored. On another machine, rounding differences grow
until the result is that of another seed. What must agree is therefore the measurements of the build: every accuracy
within TOLERANCE. (Two trainings of CLIP that differed only in the order of their tokens had object accuracies 0.075
apart.)
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
TOLERANCE = 0.1  # of an accuracy, from 0 to 1
UNCOMPARED = ("seconds", "scale", "loss", "bytes")
BUILT = ("playground/models", "playground/pool", "playground/themes.json")


def committed_measurements(rev: str) -> dict[str, dict[str, float]]:
    """Return the measurements of a revision's build, by step."""
    process = subprocess.run(
        ["git", "show", f"{rev}:playground/build.json"], cwd=ROOT, capture_output=True, check=True
    )
    record: dict[str, dict[str, float]] = json.loads(process.stdout)
    return record


def changed_files(rev: str) -> tuple[int, int]:
    """Return the number of built files that differ from a revision's, and the number of all built files."""
    process = subprocess.run(
        ["git", "diff", "--name-only", rev, "--", *BUILT], cwd=ROOT, capture_output=True, check=True
    )
    files = sum(path.is_file() for name in BUILT for path in [ROOT / name, *(ROOT / name).rglob("*")])
    return len(process.stdout.splitlines()), files


def differences(
    before: dict[str, dict[str, float]], now: dict[str, dict[str, float]]
) -> list[tuple[str, float, float]]:
    """Return name and both values of each measurement in both records that differs by more than its tolerance."""
    return [
        (f"{step}: {name}", before[step][name], value)
        for step, measurements in now.items()
        for name, value in measurements.items()
        if name not in UNCOMPARED and name in before.get(step, {})
        if abs(value - before[step][name]) > _tolerance(name)
    ]


def _tolerance(name: str) -> float:
    return {"mean_error_of_255": 0.5, "repositories": 0}.get(name, TOLERANCE)


def main() -> None:
    """Print how the built playground differs from the committed one; exit 1 if it differs too much."""
    parser = argparse.ArgumentParser(description="Compare the built playground with the committed one.")
    parser.add_argument("--rev", default="HEAD", help="the commit to compare with")
    rev = parser.parse_args().rev
    before = committed_measurements(rev)
    now = json.loads((ROOT / "playground" / "build.json").read_text())
    table = Table("step", f"minutes at {rev}", "minutes now", title="time by step")
    for step in now:
        seconds = before.get(step, {}).get("seconds")
        table.add_row(step, f"{seconds / 60:.1f}" if seconds else "-", f"{now[step]['seconds'] / 60:.1f}")
    console = Console()
    console.print(table)
    changed, files = changed_files(rev)
    console.print(f"{files - changed} of {files} files are equal to the bit")
    rows = differences(before, now)
    for name, old, new in rows:
        console.print(f"{name}: {old} at {rev}, {new} now")
    if rows:
        raise SystemExit(f"{len(rows)} measurements differ from {rev}'s by more than {TOLERANCE}")
    console.print(f"every measurement is within {TOLERANCE} of {rev}'s")


if __name__ == "__main__":
    main()
