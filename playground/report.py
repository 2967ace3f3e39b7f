"""Command `make playground-report`: measure the quality of the playground's models and pool.

It prints a table, and writes metrics/playground.json and the contact sheets. It exits with 1 and the names of the rows
that are below their floor, if there are any.
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
from autolora.vlm.in_process import InProcessModel
from playground import authors, clip, contact_sheets, flux, measurements
from playground.report_rows import Row

ROOT = Path(__file__).parents[1]
METRICS = ROOT / "metrics" / "playground.json"
SEED = 606_000_000
console = Console()


def main(recipes: Sequence[authors.Recipe]) -> None:
    """Measure a world with LoRAs of these recipes, write and print all rows; exit with those below their floor."""
    started = time.monotonic()
    try:
        rows = list(measure(playground_params(), recipes))
    except (AutoLoraError, FileNotFoundError) as error:
        sys.exit(f"{error}\nThe playground is incomplete; `make playground` builds it.")
    write_atomic(METRICS, to_json(rounded({row.name: entry(row) for row in rows})))
    console.print(table(rows))
    console.print(f"{time.monotonic() - started:.0f} s; {METRICS}; {contact_sheets.SHEETS}", soft_wrap=True)
    if failing := [row.name for row in rows if row.fails]:
        sys.exit(f"below their floor: {', '.join(failing)}")


def playground_params() -> Params:
    """Return params.yaml with one thread, which makes numbers reproducible.

    Exits if it is for another base model.
    """
    values = load(ROOT / "params.yaml")
    if (ROOT / values.models.pipeline).resolve() != flux.HOME.resolve():
        sys.exit(
            f"models.pipeline in params.yaml is {values.models.pipeline}; "
            f"the report needs the playground's base {flux.HOME.relative_to(ROOT)}"
        )
    return replace(values, models=replace(values.models, threads=1))


def measure(values: Params, recipes: Sequence[authors.Recipe]) -> Iterator[Row]:
    """Yield every row of the report, and save the contact sheets."""
    judges = load_judges(values.judges, values.models)
    assert judges.classifier is not None  # the playground's params have one
    size = values.generation.width
    yield from measurements.measure_oracle(judges.classifier, size, SEED)
    pipeline = models.load_pipeline(values.models)
    base = measurements.generate_base_images(pipeline, values.generation, SEED + 1)
    yield from measurements.measure_base(base, judges.classifier, SEED + 1)
    by_lora = measurements.generate_lora_images(pipeline, recipes, values.generation, values.pool, SEED + 2)
    yield from measurements.measure_loras(by_lora, judges.classifier, SEED + 2)
    contact_sheets.save(base, by_lora)
    yield measurements.measure_clip("CLIP", load_clip(clip.MAIN.home, "cpu"), size, SEED + 3)
    yield measurements.measure_clip("judge CLIP", judges.clip, size, SEED + 3)
    vlm = InProcessModel(values.models, values.captions.batch)
    yield from measurements.measure_captions(vlm, recipes, values.captions, SEED + 4)
    yield measurements.measure_answers("VLM", vlm, judges.question, size, SEED + 5)
    yield measurements.measure_answers("judge VLM", judges.vlm, judges.question, size, SEED + 5)


def entry(row: Row) -> dict[str, object]:
    """Return a row as the JSON object in metrics/playground.json."""
    numbers = {"value": row.value, "interval": row.interval, "n": row.n, "chance": row.chance}
    targets = {"floor": row.floor, "goal": row.goal, "seed": row.seed}
    return numbers | targets | ({"which": row.worst_group} if row.worst_group else {})


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table, in percent."""
    output = Table("what", title="The playground", caption="95 % intervals; all seeds are fixed")
    for name in ("%", "interval", "n", "chance", "floor", "goal"):
        output.add_column(name, justify="right")
    output.add_column("")
    for row in rows:
        name = f"{row.name} ({row.worst_group})" if row.worst_group else row.name
        low, high = row.interval
        cells = [_percent(row.value), f"{_percent(low)}–{_percent(high)}", str(row.n), _percent(row.chance)]
        output.add_row(name, *cells, _percent(row.floor), _percent(row.goal), _verdict(row))
    return output


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _verdict(row: Row) -> str:
    if row.floor is None or row.goal is None:
        return ""
    return "[red]below" if row.fails else "[green]goal" if row.value >= row.goal else "[yellow]floor"


if __name__ == "__main__":
    main(authors.recipes())
