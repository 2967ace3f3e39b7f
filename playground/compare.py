"""Is the playground that was built the one that is committed?

    python -m playground.compare [--rev REV]

On the same kind of machine training repeats itself to the bit: every file is equal but the LoRAs of
higher rank, of which the committed ones were cut down after they had been stored.  On another machine
rounding grows until it is a training from another seed, so what must agree is what the build
measured: every accuracy within TOLERANCE.  (Two trainings of CLIP that differed in the order of their
tokens alone were 0.075 apart in the objects that they named.)
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


def committed(rev: str) -> dict[str, dict[str, float]]:
    """Read what the build of a revision measured, by step."""
    shown = subprocess.run(
        ["git", "show", f"{rev}:playground/build.json"], cwd=ROOT, capture_output=True, check=True
    )
    record: dict[str, dict[str, float]] = json.loads(shown.stdout)
    return record


def changed_files(rev: str) -> tuple[int, int]:
    """Count the built files that differ from a revision's, and all of them."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", rev, "--", *BUILT], cwd=ROOT, capture_output=True, check=True
    )
    files = sum(path.is_file() for name in BUILT for path in [ROOT / name, *(ROOT / name).rglob("*")])
    return len(changed.stdout.splitlines()), files


def apart(
    then: dict[str, dict[str, float]], now: dict[str, dict[str, float]]
) -> list[tuple[str, float, float]]:
    """List what both measured and where they are further apart than TOLERANCE."""
    return [
        (f"{step}: {name}", then[step][name], value)
        for step, measured in now.items()
        for name, value in measured.items()
        if name not in UNCOMPARED and name in then.get(step, {})
        if abs(value - then[step][name]) > _tolerance(name)
    ]


def _tolerance(name: str) -> float:
    return {"mean_error_of_255": 0.5, "repositories": 0}.get(name, TOLERANCE)


def main() -> None:
    """Print how the built playground differs from the committed one; exit 1 where that is too much."""
    parser = argparse.ArgumentParser(description="Compare the built playground with the committed one.")
    parser.add_argument("--rev", default="HEAD", help="the commit to compare with")
    rev = parser.parse_args().rev
    then, now = committed(rev), json.loads((ROOT / "playground" / "build.json").read_text())
    table = Table("step", "minutes then", "minutes now", title="time by step")
    for step in now:
        old = then.get(step, {}).get("seconds")
        table.add_row(step, f"{old / 60:.1f}" if old else "-", f"{now[step]['seconds'] / 60:.1f}")
    console = Console()
    console.print(table)
    changed, files = changed_files(rev)
    console.print(f"{files - changed} of {files} files are equal to the bit")
    differences = apart(then, now)
    for name, old, new in differences:
        console.print(f"{name}: {old} at {rev}, {new} now")
    if differences:
        raise SystemExit(f"{len(differences)} measurements differ from {rev}'s by more than {TOLERANCE}")
    console.print(f"every measurement is within {TOLERANCE} of {rev}'s")


if __name__ == "__main__":
    main()
