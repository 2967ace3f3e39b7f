"""`make playground-report`: how good the playground is, as a table, metrics/playground.json and contact sheets.

Exits with 1 and names the rows when some are below their floor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autolora import models
from autolora.errors import AutoLoraError
from autolora.metrics.clip import load_clip
from autolora.metrics.judges import load_judges
from autolora.metrics.numbers import rounded, to_json
from autolora.params import Params, load
from autolora.storage.files import write_atomic
from autolora.vlm import InProcess
from playground import clip, flux, readings, sheets
from playground.rows import Row

ROOT = Path(__file__).parents[1]
METRICS = ROOT / "metrics" / "playground.json"
SEED = 606_000_000
console = Console()


def main() -> None:
    """Measure, print, write; name what is below its floor."""
    started = time.monotonic()
    try:
        rows = list(measure(playground_params()))
    except (AutoLoraError, FileNotFoundError) as error:
        sys.exit(f"{error}\nThe playground is not whole: `make playground` builds it.")
    write_atomic(METRICS, to_json(rounded({row.what: entry(row) for row in rows})))
    console.print(table(rows))
    console.print(f"{time.monotonic() - started:.0f} s; {METRICS}; {sheets.SHEETS}", soft_wrap=True)
    if failing := [row.what for row in rows if row.fails]:
        sys.exit(f"below their floor: {', '.join(failing)}")


def playground_params() -> Params:
    """Read params.yaml; one thread, so that numbers repeat. Exits when it is another base's."""
    values = load(ROOT / "params.yaml")
    if (ROOT / values.models.pipeline).resolve() != flux.HOME.resolve():
        sys.exit(f"params.yaml names the base {values.models.pipeline}: put the playground's own back")
    return replace(values, models=replace(values.models, threads=1))


def measure(values: Params) -> Iterator[Row]:
    """Paint, look and ask; yield every row, and save the contact sheets on the way."""
    judges = load_judges(replace(values.judges, engine="transformers"), values.models, values.vllm)
    assert judges.classifier is not None  # the playground's params name one
    yield from readings.read_oracle(judges.classifier, SEED)
    pipeline = models.load_pipeline(values.models)
    base = readings.paint_base(pipeline, values.generation, SEED + 1)
    yield from readings.read_base(base, judges.classifier, SEED + 1)
    painted = readings.paint_loras(pipeline, values.generation, values.pool, SEED + 2)
    yield from readings.read_loras(painted, judges.classifier, SEED + 2)
    sheets.save(base, painted)
    yield readings.read_clip("CLIP", load_clip(clip.PARTY.home, "cpu"), SEED + 3)
    yield readings.read_clip("judge CLIP", judges.clip, SEED + 3)
    party, asked = InProcess(values.models, values.captions.batch), values.captions
    yield from readings.read_captions(party, asked.instructions.medium, asked.max_tokens, SEED + 4)
    yield readings.read_answers("VLM", party, judges.question, SEED + 5)
    yield readings.read_answers("judge VLM", judges.vlm, judges.question, SEED + 5)


def entry(row: Row) -> dict[str, object]:
    """Return a row as it goes to metrics/playground.json."""
    numbers = {"value": row.value, "interval": row.interval, "n": row.n, "chance": row.chance}
    aims = {"floor": row.floor, "goal": row.goal, "seed": row.seed}
    return numbers | aims | ({"which": row.which} if row.which else {})


def table(rows: Sequence[Row]) -> Table:
    """Lay the rows out, in percent."""
    made = Table("what", title="The playground", caption="95 % intervals; every number from fixed seeds")
    for name in ("%", "interval", "n", "chance", "floor", "goal"):
        made.add_column(name, justify="right")
    made.add_column("")
    for row in rows:
        what = f"{row.what} ({row.which})" if row.which else row.what
        low, high = row.interval
        cells = [_percent(row.value), f"{_percent(low)}–{_percent(high)}", str(row.n), _percent(row.chance)]
        made.add_row(what, *cells, _percent(row.floor), _percent(row.goal), _verdict(row))
    return made


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _verdict(row: Row) -> str:
    if row.floor is None or row.goal is None:
        return ""
    return "[red]below" if row.fails else "[green]goal" if row.value >= row.goal else "[yellow]floor"


if __name__ == "__main__":
    main()
