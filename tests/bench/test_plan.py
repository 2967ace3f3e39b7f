"""The estimates of `autolora plan` beside the measured demo, and the measurement of its rates."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.params import load
from autolora.planning.plan import RATES, Plan, make_plan
from bench.plan import COMMAND, LIMIT, MIN_BYTES, RESULTS, compare, measure_rates, planned_of, read_seconds

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
        return make_plan(load(ROOT / "params.yaml"), ROOT, MEASURED["adapters"])


@pytest.mark.parametrize(("what", "least", "stages"), [("seconds", 0, 9), ("bytes", MIN_BYTES, 7)])
def test_time_and_disk_of_every_stage_are_within_a_factor_of_two(
    what: str, least: float, stages: int, plan: Plan
) -> None:
    planned, measured = planned_of(plan)[what], MEASURED[what]
    ratios = {name: planned[name] / measured[name] for name in planned if measured.get(name, 0) > least}
    assert len(ratios) == stages
    assert {name: ratio for name, ratio in ratios.items() if not 1 / LIMIT <= ratio <= LIMIT} == {}


def test_the_page_states_the_current_estimates(plan: Plan) -> None:
    row = r"^\| (\w+) \| (\d+) \| (\d+) \| ([\d.]+|–) \| ([\d.]+|–) \|$"
    rows = re.findall(row, PAGE.read_text(), re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "pool",
        "captions",
        "encoder",
        "fusion",
        "evaluation",
        "experiments",
    ]
    planned = planned_of(plan)
    for name, *texts in rows:
        columns = [each[what].get(name, 0) for what in ("seconds", "bytes") for each in (planned, MEASURED)]
        for text, value, unit in zip(texts, columns, (1, 1, MB, MB), strict=True):
            rounding = 0.51 if unit == 1 else 0.08
            assert float(text.replace("–", "0")) == pytest.approx(value / unit, abs=rounding), name


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
    assert read_seconds(tmp_path / "prefect.db") == {"crawl": 10.0, "pool": 30.0}


def test_every_rate_that_names_this_command_is_measured() -> None:
    measured = measure_rates(repetitions=1)
    rows = yaml.safe_load(RATES.read_text())
    rates = {name: row["value"] for name, row in rows.items() if row["source"] == f"{COMMAND} --rates"}
    assert measured.keys() == rates.keys()
    if "bf16" not in Path("/proc/cpuinfo").read_text():  # then torch emulates it, 100 times slower
        del measured["cpu_16_bit_flops_per_s"]
    for name, value in measured.items():
        assert rates[name] / 20 < value < rates[name] * 20
