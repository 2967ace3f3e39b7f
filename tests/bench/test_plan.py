"""The estimates of `autolora plan` beside the measured demo, and the measurement of its rates."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autolora.params import load
from autolora.planning.plan import Plan, make_plan
from autolora.planning.rates import load_rates
from bench.plan import (
    COMMAND,
    LIMIT,
    MIN_BYTES,
    RESULTS,
    compare,
    measure_rates,
    planned_bytes,
    planned_seconds,
    read_seconds,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "plan.md"
MB = 1e6
MEASURED: dict[str, Any] = json.loads(RESULTS.read_text())


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Return the plan of the committed params for the measured number of adapters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return make_plan(
            load(ROOT / "params.yaml"), ROOT, MEASURED["adapters"], MEASURED["images_per_adapter"]
        )


def test_every_stages_time_is_within_a_factor_of_two(plan: Plan) -> None:
    planned = planned_seconds(plan)
    ratios = {stage: planned[stage] / seconds for stage, seconds in MEASURED["seconds"].items()}
    assert planned.keys() == ratios.keys()
    assert {stage: ratio for stage, ratio in ratios.items() if not 1 / LIMIT <= ratio <= LIMIT} == {}
    assert 1 / LIMIT <= plan.seconds / sum(MEASURED["seconds"].values()) <= LIMIT


def test_every_large_outputs_size_is_within_a_factor_of_two(plan: Plan) -> None:
    planned = planned_bytes(plan)
    ratios = {stage: planned[stage] / size for stage, size in MEASURED["bytes"].items() if size >= MIN_BYTES}
    assert len(ratios) >= 6
    assert {stage: ratio for stage, ratio in ratios.items() if not 1 / LIMIT <= ratio <= LIMIT} == {}
    assert 1 / LIMIT <= plan.disk / sum(MEASURED["bytes"].values()) <= LIMIT


def test_the_page_states_the_current_estimates(plan: Plan) -> None:
    rows = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \| ([\d.]+|–) \| ([\d.]+|–) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert [name for name, *_ in rows] == [
        "pool", "captions", "encoder", "fusion", "evaluation", "experiments", "all",
    ]  # fmt: skip
    columns = (planned_seconds(plan), MEASURED["seconds"], planned_bytes(plan), MEASURED["bytes"])
    for name, *texts in rows:
        for text, values, unit in zip(texts, columns, (1, 1, MB, MB), strict=True):
            value = (sum(values.values()) if name == "all" else values[name]) / unit
            assert float(text.replace("–", "0")) == pytest.approx(value, abs=0.51 if unit == 1 else 0.08), (
                name
            )


def test_the_comparison_prints_a_line_per_number(plan: Plan) -> None:
    lines = compare(plan, MEASURED)
    assert lines[0].startswith("crawl: ") and lines[0].endswith(" ×")
    assert sum(line.startswith("all: ") for line in lines) == 2


def test_seconds_of_a_stage_contain_its_start(tmp_path: Path) -> None:
    rows = [
        ("refresh 2026-01-05", "00:00:10", "00:01:00", "Completed"),
        ("crawl 2026-01-05", "00:00:13", "00:00:20", "Completed"),
        ("pool 2026-01-05", "00:00:25", "00:00:50", "Completed"),
        ("pool 2026-01-05", "00:00:21", "00:00:22", "Failed"),
        ("refresh 2026-01-06", "00:02:00", "00:03:00", "Completed"),
        ("crawl 2026-01-06", "00:02:10", "00:02:20", "Completed"),
    ]
    with sqlite3.connect(tmp_path / "prefect.db") as connection:
        connection.execute("CREATE TABLE flow_run (name, start_time, end_time, state_name)")
        timed = [(name, f"2026-11-28 {a}", f"2026-11-28 {b}", state) for name, a, b, state in rows]
        connection.executemany("INSERT INTO flow_run VALUES (?, ?, ?, ?)", timed)
    assert read_seconds(tmp_path / "prefect.db") == {"crawl": 10.0, "pool": 30.0, "report": 10.0}


def test_every_rate_that_names_this_command_is_measured() -> None:
    measured = measure_rates(load(ROOT / "params.yaml"), repetitions=1)
    rates = {name: rate for name, rate in load_rates().items() if rate.source == f"{COMMAND} --rates"}
    assert measured.keys() == rates.keys()
    if "bf16" not in Path("/proc/cpuinfo").read_text():  # then torch emulates it, 100 times slower
        del measured["cpu_bfloat16_flops_per_s"]
    for name, value in measured.items():
        assert rates[name].value / 20 < value < rates[name].value * 20
