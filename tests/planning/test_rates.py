"""The rates: each with its basis, source and day, and the seconds that a machine takes."""

import datetime
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from autolora.params import load
from autolora.planning import plan as plan_module
from autolora.planning.plan import make_setting
from autolora.planning.rates import PATH, Rate, load_rates, machine
from autolora.planning.tally import Tally

ROOT = Path(__file__).parents[2]
RATES = load_rates()
PARAMS = load(ROOT / "params.yaml")
MODELS = PARAMS.models


@pytest.mark.parametrize("name", RATES)
def test_every_rate_states_where_it_is_from(name: str) -> None:
    rate = RATES[name]
    assert rate.value > 0 and type(rate.value) in (int, float)
    assert rate.unit and rate.source and isinstance(rate.date, datetime.date)
    assert rate.basis in get_args(Rate.__annotations__["basis"])
    if rate.basis == "measured":
        module = re.fullmatch(r"python -m ([\w.]+)(?: --rates)?", rate.source)
        is_former = re.fullmatch(r"python -m [\w.]+ of commit [0-9a-f]{7}", rate.source)
        assert importlib.util.find_spec(module[1]) if module else is_former or rate.source == "make demo"


def test_every_rate_is_used() -> None:
    code = "".join(path.read_text() for path in PATH.parent.glob("*.py"))
    assert not [name for name in RATES if f'"{name}"' not in code]


def test_a_processor_does_one_thing_after_the_other_and_a_gpu_both() -> None:
    work = Tally(flops=1e12, traffic=1e9, calls=1000)
    cpu = machine(MODELS, RATES, threads=2)
    flops, traffic, calls = 1e12 / cpu.flops_per_s, 1e9 / cpu.bytes_per_s, 1000 * cpu.call_s
    assert cpu.flops_per_s == 2 * RATES["cpu_flops_per_s"].value
    assert cpu.seconds(work) == pytest.approx(flops + traffic + calls)
    gpu = machine(replace(MODELS, device="cuda", dtype="bfloat16"), RATES, threads=2)
    assert gpu.seconds(work) == pytest.approx(max(1e12 / gpu.flops_per_s + 1e9 / gpu.bytes_per_s, calls))
    assert machine(replace(MODELS, device="cuda"), RATES, threads=2).flops_per_s < gpu.flops_per_s


def test_the_card_is_the_one_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = replace(PARAMS, models=replace(MODELS, device="cuda"))
    monkeypatch.setattr(plan_module, "card_bytes", lambda: 24e9)
    assert make_setting(PARAMS, None, adapters=10).rates == RATES, "none is used"
    rate = make_setting(on_gpu, None, adapters=10).rates["gpu_memory_bytes"]
    assert (rate.value, rate.unit, rate.basis) == (24e9, RATES["gpu_memory_bytes"].unit, "measured")
    monkeypatch.setattr(plan_module, "card_bytes", lambda: None)
    assert make_setting(on_gpu, None, adapters=10).rates == RATES
