"""What a plan warns of: a card that is too small, days, requests, space."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import OutOfMemory
from autolora.params import Params, load
from autolora.planning import risks as risks_module
from autolora.planning.cost import StageCost
from autolora.planning.plan import Plan
from autolora.planning.rates import load_rates
from autolora.planning.risks import find_risks
from autolora.planning.workload import Workload
from autolora.presets.encoder import ENCODER
from flows import encoder as flow

PARAMS = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml")
WORK = Workload(
    adapters=10, listed=10, per_day=1000, images_per_adapter=4, file_bytes=1e8, rank=16, image_px=1e6, lengths=3,
    train_share=0.8, from_catalog=False,
)  # fmt: skip
SMALL = StageCost(stage="pool", does="few files", seconds=10, disk=1, memory=1)
EVEN = tuple(replace(SMALL, stage=f"{number}") for number in range(5))


def risks(*stages: StageCost, params: Params = PARAMS, server: float = 0.0, adapters: int = 10) -> list[str]:
    plan = Plan(
        device="cuda", workload=replace(WORK, adapters=adapters), stages=(*EVEN, *stages), models_disk=0,
        server_gpu_memory=server, rates=load_rates(),
    )  # fmt: skip
    return find_risks(plan, params, Path("/"))


def test_a_small_plan_has_no_risk() -> None:
    assert risks() == []


@pytest.mark.parametrize(("adapters", "number"), [(1, "1 adapter"), (2, "2 adapters"), (3, "")])
def test_gates_need_two_training_adapters(adapters: int, number: str) -> None:
    texts = risks(adapters=adapters)
    assert len(texts) == (1 if number else 0)
    for text in texts:
        assert text.startswith("fusion fails: the gates need 2 or more training adapters")
        assert f" leave about {adapters - 1} of {number}: add adapters" in text


def test_a_stage_that_fits_only_without_the_server() -> None:
    stage = replace(SMALL, stage="fusion", gpu_memory=70e9)
    assert risks(stage) == []
    (text,) = risks(stage, server=24e9)
    assert text.startswith(
        "fusion needs 70.0 GB of GPU memory beside the vLLM server's 24.0 GB, but a card has 85.5"
    )


def test_a_transformer_that_does_not_fit_is_named_before_its_training(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_preset(**fields: Any) -> Params:
        variant = replace(ENCODER["paper"], heads=2, **fields)
        return replace(params, encoder=replace(params.encoder, variant=variant))

    (tmp_path / "dvc.yaml").touch()
    known = with_preset()
    assert risks_module.encoder_lack(known, tmp_path) is None, "the number of adapters is unknown"
    known = replace(known, crawl=replace(known.crawl, newest=100))
    assert risks_module.encoder_lack(known, tmp_path) is None
    monkeypatch.setattr(risks_module, "_memory_bytes", lambda: 1e8)
    lack = risks_module.encoder_lack(known, tmp_path)
    assert lack and re.fullmatch(
        r"encoder needs 0\.\d GB of memory, but this machine has 0\.1 GB "
        r"\(20,000 steps of 56 adapters of 0\.\d+ MB, \d+,\d+ weights\)",
        lack,
    )
    monkeypatch.setattr(flow, "ROOT", tmp_path)
    with pytest.raises(OutOfMemory, match=r"this machine has .*: lower encoder\.overrides\.batch, or set "):
        flow.train(known)
    assert risks_module.encoder_lack(replace(known, encoder=params.encoder), tmp_path) is None


def test_a_plan_that_takes_longer_than_a_refresh_may() -> None:
    stage = replace(SMALL, stage="fusion", seconds=21 * 3600, does="8,000 steps")
    longer, longest = risks(stage)
    assert "21.0 h, but a refresh fails after 20 h" in longer
    assert longest == "fusion takes 100% of the time: 8,000 steps"


def test_a_budget_that_spreads_a_first_run_over_days() -> None:
    assert risks(adapters=2500) == [
        "crawl.budget admits 1,000 adapters per day: 2,500 take 3 days",
    ]


@pytest.mark.parametrize("many", [120_000, 49_999])
def test_many_requests(many: int) -> None:
    stage = replace(SMALL, stage="captions", vlm_requests=many, hub_requests=many)
    found = risks(stage)
    assert len(found) == (2 if many > 50_000 else 0)
    if found:
        assert found[0] == (
            "captioning 10 adapters × 4 images × 3 captions: 120,000 requests to the vLLM server"
        )
        assert "at 2 per second (hubs.requests_per_s): 16.7 h" in found[1]


def test_what_this_machine_does_not_have() -> None:
    disk, memory = risks(replace(SMALL, disk=1e18, memory=1e15))
    assert disk.startswith("1,000,000,000.0 GB of disk, but / has ")
    assert memory.startswith("pool needs 1,000,000.0 GB of memory, but this machine has ")
