"""Plans: how the needs of a stage follow from params and numbers of adapters."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import MismatchError
from autolora.params import Params, StorageParams, load
from autolora.planning import data_stages, passes
from autolora.planning.cost import StageCost
from autolora.planning.plan import ESTIMATES, Plan, has_server, make_plan, make_setting
from autolora.planning.rates import load_rates
from autolora.planning.risks import find_risks
from autolora.planning.tally import Tally
from autolora.presets.encoder import ENCODER
from flows.code_digests import STAGES


@pytest.fixture(scope="module", autouse=True)
def _counted_step() -> Iterator[None]:
    """Replace the count of a training step, which takes seconds, by a number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "training_step", lambda *_: Tally(1e12, 1e9, 1e4, 1e8))
        yield


@pytest.fixture(scope="module")
def plan(params: Params) -> Plan:
    return make_plan(params, None, 100, 2)


def stage(plan: Plan, name: str) -> StageCost:
    return next(stage for stage in plan.stages if stage.stage == name)


def estimate(params: Params, name: str, adapters: int = 100) -> StageCost:
    """Return the estimate of one stage for adapters with two images each."""
    (function,) = (function for function in ESTIMATES if function.__name__ == name)
    return function(make_setting(params, None, adapters, 2))


def test_every_stage_is_estimated(plan: Plan) -> None:
    assert {stage.stage for stage in plan.stages} == {"crawl", *STAGES, "report"}
    for row in plan.stages:
        assert row.seconds > 0 and row.memory > 0 and row.does
        assert row.gpu_memory == 0  # the params name the CPU
    assert plan.models_disk == plan.server_gpu_memory == 0  # all models are folders


def test_totals_are_sums_of_time_and_disk_and_maxima_of_memory(plan: Plan) -> None:
    assert plan.seconds == sum(stage.seconds for stage in plan.stages)
    assert plan.disk == sum(stage.disk for stage in plan.stages)
    assert plan.memory == max(stage.memory for stage in plan.stages)


def test_a_plan_is_json(plan: Plan) -> None:
    content = json.loads(json.dumps(plan.to_json()))
    assert content["total"]["seconds"] == plan.seconds
    assert content["workload"]["adapters"] == 100
    assert {"value", "unit", "basis", "source", "date"} == content["rates"]["call_s"].keys()
    assert len(content["stages"]) == len(plan.stages)


def test_requests_follow_from_adapters_and_images(plan: Plan, params: Params) -> None:
    assert stage(plan, "crawl").hub_requests == 101  # one page, and the files of each model
    few = replace(params.crawl, budget=replace(params.crawl.budget, files=10), full_scan_every_days=7)
    days = data_stages.crawl(make_setting(replace(params, crawl=few), None, 100, 2, listed=1000))
    assert days.hub_requests == 100 + 2 * 10 + 8 * 2  # two full scans of 10 pages, and eight of two
    assert stage(plan, "pool").hub_requests == 300
    assert stage(plan, "captions").vlm_requests == 0  # in process
    served = replace(params, captions=replace(params.captions, engine="vllm"))
    assert estimate(served, "captions").vlm_requests == 600
    none = replace(params, captions=replace(params.captions, engine=None))
    assert "captions.engine is null" in estimate(none, "captions").does


def test_batches_that_are_evicted_need_no_disk_but_those_of_one_refresh_do(
    plan: Plan, params: Params
) -> None:
    everything = stage(plan, "pool").disk
    kept = replace(params, storage=StorageParams(keep_local_gb=everything / 4 / 1e9))
    assert estimate(kept, "pool").disk == everything, "one refresh brings all"
    daily = replace(kept, crawl=replace(kept.crawl, budget=replace(kept.crawl.budget, files=10)))
    assert everything / 4 < estimate(daily, "pool").disk < everything  # sketches stay


@pytest.mark.parametrize("name", ["crawl", "pool", "captions", "dataset", "index"])
def test_what_grows_with_the_adapters(plan: Plan, params: Params, name: str) -> None:
    many = estimate(params, name, adapters=1000)
    fixed = load_rates()["sentence_encoder_bytes"].value if name == "index" else 0
    assert many.disk - fixed == pytest.approx(10 * (stage(plan, name).disk - fixed))
    assert many.seconds > stage(plan, name).seconds


def test_the_gates_training_does_not_grow_with_the_adapters(params: Params) -> None:
    few, many = (estimate(params, "fusion", adapters) for adapters in (10_000, 100_000))
    assert many == few  # images and captions are encoded when a step needs them


def test_a_gpu_has_the_models_and_the_server(params: Params) -> None:
    on_gpu = replace(params, models=replace(params.models, device="cuda", dtype="bfloat16"))
    fusion, on_cpu = estimate(on_gpu, "fusion"), estimate(params, "fusion")
    assert fusion.gpu_memory > 1e8 > on_cpu.gpu_memory == 0
    assert on_cpu.memory > fusion.memory
    assert fusion.seconds != on_cpu.seconds
    assert not has_server(on_gpu)
    served = replace(on_gpu, captions=replace(params.captions, engine="vllm"))
    assert has_server(served)
    assert not has_server(replace(served, vllm=replace(params.vllm, urls=("http://gpu-2:8000/v1",))))


def test_a_published_encoder_is_not_trained(plan: Plan, params: Params) -> None:
    ready = estimate(replace(params, encoder=replace(params.encoder, from_="folder")), "encoder")
    assert "published" in ready.does
    assert ready.seconds < stage(plan, "encoder").seconds
    assert ready.disk == stage(plan, "encoder").disk


@pytest.mark.parametrize("adapters", [1, 3])
def test_too_few_adapters_to_fuse_take_no_time(params: Params, adapters: int) -> None:
    start_s = make_setting(params, None, adapters, 2).start_s
    for name in ("fusion", "experiments"):
        none = estimate(params, name, adapters)
        assert none.does.startswith("none: too few ") and none.seconds == start_s and none.disk == 0


@pytest.mark.slow
def test_experiments_have_at_most_the_pairs_that_there_are(params: Params) -> None:
    per_pair = 12 * params.experiments.images
    assert estimate(params, "experiments").does.startswith(f"{params.experiments.pairs * per_pair} images")


def test_a_transformer_as_encoder_takes_its_steps(params: Params) -> None:
    variants = [replace(ENCODER["paper"], heads=2, steps=steps) for steps in (1000, 3000)]
    short, long = (
        estimate(replace(params, encoder=replace(params.encoder, variant=variant)), "encoder")
        for variant in variants
    )
    assert short.does.startswith("1,000 steps of 56 adapters of ")  # of 100, not the 256 of the preset
    assert long.seconds > short.seconds
    with pytest.raises(MismatchError, match="12 heads, which do not divide the text encoder's width, 16"):
        estimate(replace(params, encoder=replace(params.encoder, variant=ENCODER["paper"])), "encoder")


def of_flux(name: str, **fields: Any) -> StageCost:
    """Return the estimate of one stage for 1,000 adapters of FLUX.1-dev, with fields of the preset `paper`."""
    params = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml")
    variant = replace(ENCODER["paper"], **fields)
    return estimate(replace(params, encoder=replace(params.encoder, variant=variant)), name, 1000)


@pytest.mark.slow
def test_the_papers_encoder_of_flux_fits_on_no_card() -> None:
    whole = of_flux("encoder")
    assert whole.does == "20,000 steps of 256 adapters of 545.4 MB, 2,347,379,712 weights"
    assert whole.disk == pytest.approx(4 * 2_347_379_712, rel=0.01)
    assert (
        whole.gpu_memory > 256 * 545e6 + 4 * 4 * 2.347e9
    )  # the batch, the weights and AdamW's state of them
    assert whole.memory > 2 * 256 * 545e6  # the adapters alone, and as a batch
    assert whole.seconds > 30 * 24 * 3600
    assert of_flux("index").disk < 1e9 < 9e9 < of_flux("index").memory  # which embeds by the same weights
    small = of_flux("encoder", batch=16)
    assert 4 * 4 * 2.347e9 < small.gpu_memory < 80e9 and small.memory < 64e9
    assert of_flux("encoder", probe="sketch").gpu_memory < 24e9


def test_own_files_need_no_more_of_a_pipeline_than_an_encoder_brings(params: Params, tmp_path: Path) -> None:
    for part in ("transformer", "text_encoder"):
        shutil.copytree(Path(params.models.pipeline) / part, tmp_path / "flux" / part)
    small = replace(params, models=replace(params.models, pipeline=str(tmp_path / "flux")))
    captioned, uncaptioned = params.captions, replace(params.captions, engine=None)
    named, read, trained = (
        make_plan(
            replace(small, encoder=replace(params.encoder, from_=source), captions=captions), tmp_path, 100, 2
        )
        for source, captions in ((None, uncaptioned), ("folder", captioned), (None, captioned))
    )
    assert [row.stage for row in named.stages] == ["pool", "captions", "dataset", "encoder", "index"]
    assert stage(named, "encoder").does == "none: no encoder (encoder.from, captions.engine)"
    assert stage(trained, "encoder").does.startswith("ridge regression of 56 adapters")  # by `index --train`
    assert stage(read, "encoder").does == "none: a published one"
    assert stage(read, "index").seconds > stage(named, "index").seconds
    linked, downloaded = stage(named, "pool"), estimate(params, "pool")
    assert linked.hub_requests == 0 and linked.disk < downloaded.disk
    assert not [text for text in find_risks(named, small, tmp_path) if "fusion" in text or "refresh" in text]


def test_processes_share_a_batch_and_the_machine(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    monkeypatch.setattr(
        passes, "training_step", lambda _, section, *__: batches.append(section.batch) or Tally(1e12)
    )
    four = replace(params, operation=replace(params.operation, processes=4))
    alone, several = estimate(params, "fusion"), estimate(four, "fusion")
    assert batches == [16, 4] and "batch 4" in several.does and "in each of 4 processes" in several.does
    assert several.memory == 4 * alone.memory
    transformer = replace(params.encoder, variant=replace(ENCODER["paper"], heads=2, batch=16))
    alone, several = (estimate(replace(given, encoder=transformer), "encoder") for given in (params, four))
    assert "of 16 adapters" in alone.does and "of 4 adapters" in several.does
    assert alone.memory < several.memory < 4 * alone.memory, "each process has a part of the batch"
    assert estimate(four, "encoder") == estimate(params, "encoder")  # a ridge regression
