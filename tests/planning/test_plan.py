"""Plans: how the needs of a stage follow from params and numbers of adapters, and what does not fit."""

import datetime
import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from autolora.catalog import store as catalog
from autolora.errors import OutOfMemory
from autolora.params import Params, StorageParams, load
from autolora.planning import plan as plan_module
from autolora.planning.plan import ALL, RATES, Plan, encoder_lack, make_plan, make_setting
from autolora.planning.stages import Setting, StageCost, drawings, encoder, index
from autolora.presets.encoder import ENCODER
from flows import encoder as flow
from flows.code_digests import STAGES
from tests.support.encoder_training import KEPT, planned_bytes
from tests.support.small_root import make_listing

ROOT = Path(__file__).parents[2]
PROFILE = load(ROOT / "profiles" / "flux.1-dev.yaml")
ROWS: dict[str, dict[str, Any]] = yaml.safe_load(RATES.read_text())
HUGE = SimpleNamespace(total=1e15, free=1e15)


@pytest.fixture(autouse=True)
def _no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan on a machine that has no card, and enough of all else."""
    monkeypatch.setattr(plan_module, "card_bytes", lambda: None)
    monkeypatch.setattr("psutil.virtual_memory", lambda: HUGE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: HUGE)


@pytest.fixture(scope="module")
def plan(params: Params) -> Plan:
    return make_plan(params, None, 100)


def stage(plan: Plan, name: str) -> StageCost:
    return next(stage for stage in plan.stages if stage.stage == name)


def estimate(params: Params, name: str, adapters: int = 100) -> StageCost:
    """Return the estimate of one stage for adapters with two images each."""
    (function,) = (function for function in ALL if function.__name__ == name)
    return function(make_setting(params, None, adapters))


def with_encoder(params: Params, preset: str = "paper", **fields: Any) -> Params:
    return replace(params, encoder=replace(params.encoder, variant=replace(ENCODER[preset], **fields)))


def test_every_stage_is_estimated(plan: Plan) -> None:
    assert {stage.stage for stage in plan.stages} == {"crawl", *STAGES}
    for row in plan.stages:
        assert row.seconds > 0 and row.memory > 0
        assert row.gpu_memory == 0  # the params name the CPU
    assert plan.models_disk == plan.server_gpu_memory == 0  # all models are folders
    assert not plan.lacks and not plan.drawing


def test_totals_are_sums_of_time_and_disk_and_maxima_of_memory(plan: Plan) -> None:
    assert plan.total["seconds"] == sum(stage.seconds for stage in plan.stages)
    assert plan.total["disk"] == sum(stage.disk for stage in plan.stages)
    assert plan.total["memory"] == max(stage.memory for stage in plan.stages)
    content = json.loads(json.dumps(asdict(plan)))
    assert content["total"] == plan.total and content["workload"]["adapters"] == 100


def test_batches_that_are_evicted_need_no_disk_but_those_of_one_refresh_do(
    plan: Plan, params: Params
) -> None:
    everything = stage(plan, "pool").disk
    kept = replace(params, storage=StorageParams(keep_local_gb=everything / 4 / 1e9))
    assert estimate(kept, "pool").disk == everything, "one refresh brings all"
    daily = replace(kept, crawl=replace(kept.crawl, max_new_files=10))
    assert everything / 4 < estimate(daily, "pool").disk < everything  # sketches stay
    assert make_setting(daily, None, 100).work.nights == 10


@pytest.mark.parametrize("name", ["crawl", "pool", "captions", "dataset", "index"])
def test_what_grows_with_the_adapters(plan: Plan, params: Params, name: str) -> None:
    many = estimate(params, name, adapters=1000)
    fixed = ROWS["sentence_encoder_bytes"]["value"] if name == "index" else 0
    assert many.disk - fixed == pytest.approx(10 * (stage(plan, name).disk - fixed))
    assert many.seconds > stage(plan, name).seconds


def test_the_gates_training_does_not_grow_with_the_adapters(params: Params) -> None:
    few, many = (estimate(params, "fusion", adapters) for adapters in (10_000, 100_000))
    assert many == few  # images and captions are encoded when a step needs them


def test_checkpointing_takes_time_and_saves_memory(params: Params) -> None:
    plain, checkpointed = (
        estimate(replace(params, fusion=replace(params.fusion, checkpointing=value)), "fusion")
        for value in (False, True)
    )
    assert checkpointed.seconds > plain.seconds and checkpointed.memory < plain.memory


def test_a_gpu_has_the_models_and_the_server(params: Params) -> None:
    on_gpu = replace(params, models=replace(params.models, device="cuda", dtype="bfloat16"))
    fusion, on_cpu = estimate(on_gpu, "fusion"), estimate(params, "fusion")
    assert on_cpu.gpu_memory == 0 < fusion.gpu_memory and on_cpu.memory > fusion.memory
    assert make_plan(on_gpu, None, 100).server_gpu_memory == 0, "captions are written in process"
    served = replace(on_gpu, captions=replace(params.captions, engine="vllm"))
    assert make_plan(served, None, 100).server_gpu_memory > 7e9
    elsewhere = replace(served, vllm=replace(params.vllm, urls=("http://gpu-2:8000/v1",)))
    assert make_plan(elsewhere, None, 100).server_gpu_memory == 0


def test_16_bits_need_half_of_32(params: Params) -> None:
    single, half = (
        make_setting(replace(params, models=replace(params.models, dtype=dtype)), None, 10)
        for dtype in ("float32", "bfloat16")
    )
    assert single.number_bytes == 2 * half.number_bytes
    assert single.compute_s(0, 1e9, 100) == half.compute_s(0, 1e9, 100) != half.compute_s(1e12, 1e9, 100)


def test_a_published_encoder_is_not_trained(plan: Plan, params: Params) -> None:
    ready = estimate(replace(params, encoder=replace(params.encoder, from_="folder")), "encoder")
    assert ready.seconds < stage(plan, "encoder").seconds and ready.disk == stage(plan, "encoder").disk


@pytest.mark.parametrize("adapters", [1, 3])
def test_too_few_adapters_to_fuse_take_no_time_and_are_named(params: Params, adapters: int) -> None:
    for name in ("fusion", "experiments"):
        none = estimate(params, name, adapters)
        assert none.disk == 0 and none.seconds == ROWS["stage_start_s"]["value"]
    (lack,) = make_plan(params, None, adapters).lacks
    assert lack.startswith("fusion fails: the gates need 2 or more training adapters")
    assert f" leave about {adapters // 2} of {adapters} adapter" in lack


def test_experiments_have_at_most_the_pairs_that_there_are(params: Params) -> None:
    one, four, all_pairs = (estimate(params, "experiments", adapters).disk for adapters in (1, 4, 100))
    assert one == 0 and all_pairs == pytest.approx(four * params.experiments.pairs / 6)


def test_own_files_need_no_more_of_a_pipeline_than_an_encoder_brings(params: Params, tmp_path: Path) -> None:
    for part in ("transformer", "text_encoder"):
        shutil.copytree(Path(params.models.pipeline) / part, tmp_path / "flux" / part)
    small = replace(params, models=replace(params.models, pipeline=str(tmp_path / "flux")))
    captioned, uncaptioned = params.captions, replace(params.captions, engine=None)
    named, read, trained = (
        make_plan(
            replace(small, encoder=replace(params.encoder, from_=source), captions=captions), tmp_path, 100
        )
        for source, captions in ((None, uncaptioned), ("folder", captioned), (None, captioned))
    )
    assert [row.stage for row in named.stages] == [
        "pool",
        "drawings",
        "captions",
        "dataset",
        "encoder",
        "index",
    ]
    assert stage(named, "encoder").seconds == stage(named, "captions").seconds == 0
    assert stage(trained, "encoder").seconds > stage(read, "encoder").seconds == 0  # by `index --train`
    assert stage(read, "index").seconds > stage(named, "index").seconds
    assert stage(named, "pool").disk < estimate(params, "pool").disk
    assert not named.lacks


def test_adapters_without_renderings_draw_four_images_that_are_captioned(
    params: Params, tmp_path: Path
) -> None:
    (tmp_path / "dvc.yaml").touch()
    catalog.write(
        tmp_path,
        [
            make_listing(f"{n:064x}", f"a/{n}", [f"{m:064x}" for m in range(2 * n % 4)], False)
            for n in range(4)
        ],
    )

    def planned(**fields: Any) -> Plan:
        given = replace(params, drawings=replace(params.drawings, **fields))
        return make_plan(given, tmp_path, 100)

    drawn, half, none = planned(), planned(share=0.5), planned(per_day=0)
    assert [plan.workload.drawing for plan in (drawn, half, none)] == [50, 25, 0]
    assert [plan.workload.images for plan in (drawn, half, none)] == [300, 200, 100]
    seconds = [stage(plan, "drawings").seconds for plan in (none, half, drawn)]
    assert seconds[0] < seconds[1] < seconds[2]
    assert stage(drawn, "captions").seconds > stage(none, "captions").seconds


def test_a_thousand_adapters_of_flux_draw_in_hours_on_one_card() -> None:
    setting = flux()
    cost = drawings(replace(setting, work=replace(setting.work, drawing=1000)))
    assert 0.7 * 3600 < cost.seconds < 3 * 3600 and 24e9 < cost.gpu_memory < 80e9


def test_processes_share_a_batch_and_the_machine(params: Params) -> None:
    four = replace(params, operation=replace(params.operation, processes=4))
    alone, several = estimate(params, "fusion"), estimate(four, "fusion")
    assert alone.memory < several.memory < 4 * alone.memory, "each process has a part of the batch"
    alone, several = (estimate(with_encoder(given, batch=16), "encoder") for given in (params, four))
    assert alone.memory < several.memory < 4 * alone.memory
    assert estimate(four, "encoder") == estimate(params, "encoder")  # a ridge regression


def flux(**fields: Any) -> Setting:
    """Return the setting of 1,000 adapters of FLUX.1-dev, with fields of the preset `paper`."""
    return make_setting(with_encoder(PROFILE, **fields), None, 1000)


def test_the_papers_encoder_of_flux_fits_on_no_card() -> None:
    whole, small = encoder(flux()), encoder(flux(batch=16))
    assert flux().encoder_weights == pytest.approx(2_347_379_712, rel=0.01)
    assert (
        whole.gpu_memory > 256 * 545e6 + 4 * 4 * 2.347e9
    )  # the batch, the weights and AdamW's state of them
    assert whole.memory > 2 * 256 * 545e6  # the adapters alone, and as a batch
    assert whole.seconds > 30 * 24 * 3600
    assert index(flux()).disk < 1e9 < 9e9 < index(flux()).memory  # which embeds by the same weights
    assert 4 * 4 * 2.347e9 < small.gpu_memory < 80e9 and small.memory < 64e9
    assert encoder(flux(probe="sketch")).gpu_memory < 24e9


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper"])
def test_memory_of_a_transformers_training_is_within_a_factor_of_two(preset: str) -> None:
    """In a process of its own, because memory has a peak per process."""
    command = [sys.executable, "-m", "tests.support.encoder_training", preset]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured, planned = int(done.stdout.splitlines()[-1]), planned_bytes(preset)
    assert planned > 2 * KEPT, "most is neither kept adapters nor the process"
    assert 1 / 2 < measured / planned < 2


def test_a_transformer_that_does_not_fit_is_named_before_its_training(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dvc.yaml").touch()
    known = with_encoder(params)
    assert encoder_lack(known, tmp_path) is None, "the number of adapters is unknown"
    known = replace(known, crawl=replace(known.crawl, newest=100))
    assert encoder_lack(known, tmp_path) is None
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1e8))
    lack = encoder_lack(known, tmp_path)
    assert lack and re.fullmatch(r"encoder needs 0\.\d GB of memory, but this machine has 0\.1 GB", lack)
    monkeypatch.setattr(flow, "ROOT", tmp_path)
    with pytest.raises(OutOfMemory, match=r"this machine has .*: lower encoder\.overrides\.batch, or set "):
        flow.train(known)
    assert encoder_lack(replace(known, encoder=params.encoder), tmp_path) is None


def test_what_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_plan(PROFILE, None, 1000).lacks == ()
    monkeypatch.setattr(plan_module, "card_bytes", lambda: 48e9)
    fusion, experiments = make_plan(PROFILE, None, 1000).lacks
    assert re.match(
        r"fusion needs 38\.\d GB of GPU memory beside the vLLM server's 23\.9 GB, but a card has 48\.0 GB: "
        r"lower fusion\.image_size",
        fusion,
    )
    assert experiments.startswith("experiments needs 56")
    monkeypatch.setattr(plan_module, "card_bytes", lambda: 30e9)
    assert "set models.memory: offload" in make_plan(PROFILE, None, 1000).lacks[-1]
    monkeypatch.setattr(plan_module, "card_bytes", lambda: None)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=50e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e11))
    memory, disk = make_plan(PROFILE, None, 1000).lacks
    assert memory.startswith("experiments needs 53.4 GB of memory, but this machine has 50.0 GB")
    assert re.search(r"25\d\.\d GB of disk are needed, but .* has 100\.0 GB free", disk)
    short = replace(PROFILE, refresh=replace(PROFILE.refresh, timeout_h=2))
    assert "h, but a refresh fails after 2 h (refresh.timeout_h)" in make_plan(short, None, 1000).lacks[1]


@pytest.mark.parametrize("name", ROWS)
def test_every_rate_is_used_and_states_where_it_is_from(name: str) -> None:
    row = ROWS[name]
    assert set(row) == {"value", "unit", "basis", "source", "date"} and isinstance(row["date"], datetime.date)
    assert row["basis"] in ("measured", "published", "counted", "assumed") and row["unit"] and row["source"]
    if row["basis"] == "measured":
        module = re.fullmatch(r"python -m ([\w.]+)(?: --rates)?", row["source"])
        is_former = re.fullmatch(r"python -m [\w.]+ of commit [0-9a-f]{7}", row["source"])
        assert importlib.util.find_spec(module[1]) if module else is_former or row["source"] == "make demo"
    code = "".join(path.read_text() for path in RATES.parent.glob("*.py"))
    is_named = re.search(rf"[.\"]{name}\b", code)
    assert is_named or name.endswith(("_bit_flops_per_s", "pu_bytes_per_s", "_quantized", "bit_bytes")), (
        "for a device, of a part"
    )
