"""The plan of a run from nothing: what each stage needs, what all need together, and what does not fit."""

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import yaml

from autolora.errors import ParamsError
from autolora.gpu_memory import LOWER, Needs, card_bytes, drawing_lack
from autolora.lora.slots import fused_slots, hidden_size, slots
from autolora.model_sizes import PARTS, VALUE_BYTES, is_here, size_of
from autolora.models import transformer_config
from autolora.params import Params
from autolora.params.models import MEMORY
from autolora.planning import stages
from autolora.planning.stages import Setting, StageCost
from autolora.planning.workload import Workload, make_workload
from autolora.stages import is_pipeline
from autolora.storage.files import GB
from autolora.vlm.server import BESIDE_WEIGHTS, MAX_SHARE
from autolora.wording import counted

RATES = Path(__file__).with_name("rates.yaml")
OF_OWN_FILES = (stages.pool, stages.drawings, stages.captions, stages.dataset, stages.encoder, stages.index)
"""What `autolora index` runs, in a project without dvc.yaml."""
MIN_TRAINING_ADAPTERS = 2
ALL = (stages.crawl, *OF_OWN_FILES, stages.fusion, stages.evaluation, stages.experiments)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An estimate; sizes in bytes."""

    device: str
    workload: Workload
    stages: tuple[StageCost, ...]
    total: Mapping[str, float]
    """seconds and disk of all stages, with models; the largest memory of one, that of the card beside the server's"""
    models_disk: float
    """of the models that are still to be downloaded"""
    server_gpu_memory: float
    """that a vLLM server on the same card keeps all the time"""
    drawing: Needs
    """bytes of the card for an image, for each value of models.memory; empty without a GPU"""
    lacks: tuple[str, ...] = ()  # what does not fit, one sentence each


def make_plan(params: Params, root: Path | None, adapters: int | None = None) -> Plan:
    """Return the plan for a number of adapters.

    root: of the project that the params are of, whose catalog gives the numbers that are not given; None if of none.
    Raises ParamsError if the number of adapters is unknown, MissingArtifact or HubError if a model cannot be read.
    """
    s = make_setting(params, root, adapters)
    costs = tuple(estimate(s) for estimate in (OF_OWN_FILES if s.own_files else ALL))
    server, downloads = _server_bytes(s), _download_bytes(s)
    total = {
        "seconds": sum(cost.seconds for cost in costs),
        "disk": downloads + sum(cost.disk for cost in costs),  # DVC's cache holds links to the outputs
        "memory": max(cost.memory for cost in costs),
        "gpu_memory": server + max(cost.gpu_memory for cost in costs),
    }
    plan = Plan(
        device=params.models.device, workload=s.work, stages=costs, total=total, models_disk=downloads,
        server_gpu_memory=server, drawing=drawing_needs(s) if s.is_gpu else {},
    )  # fmt: skip
    return replace(plan, lacks=tuple(_find_lacks(s, plan, root or Path.cwd())))


def make_setting(params: Params, root: Path | None, adapters: int | None = None) -> Setting:
    """Return what the estimates read; arguments and errors as `make_plan`."""
    rows = yaml.safe_load(RATES.read_text(encoding="utf-8"))
    rates = SimpleNamespace(**{name: row["value"] for name, row in rows.items()})
    rates.gpu_memory_bytes = card_bytes() or rates.gpu_memory_bytes
    config, of = transformer_config(params.models), params.models
    linears, own_files = slots(config), root is not None and not is_pipeline(root)
    assumed = rates.lora_rank * VALUE_BYTES * sum(slot.d_in + slot.d_out for slot in linears)
    work = make_workload(params, root, assumed, adapters, own_files=own_files)
    is_gpu = of.device.startswith("cuda")
    can_train = work.training_adapters and (not own_files or params.captions.engine)
    return Setting(
        params=params, work=work, rates=rates, own_files=own_files, is_gpu=is_gpu,
        number_bytes=4 if of.dtype == "float32" else 2, slots=linears,
        seen=fused_slots(config) if params.encoder.variant.slots == "fused" else linears,
        hidden=hidden_size(config), blocks=int(config["num_layers"]) + int(config["num_single_layers"]),
        width=int(config["pooled_projection_dim"]), sketch_numbers=len(linears) * params.pool.sketch_size**2,
        trains_encoder=params.encoder.from_ is None and bool(can_train),
        has_gates=work.training_adapters >= MIN_TRAINING_ADAPTERS,
        global_lora_s=len(linears) * rates.gpu_decomposition_s * (is_gpu and params.fusion.variant.global_rank > 0),
    )  # fmt: skip


def drawing_needs(s: Setting) -> Needs:
    """Return the bytes of the card for an image with three adapters, by `models.memory`; {} if it draws none."""
    beside = s.rates.gpu_context_bytes + 3 * s.work.file_bytes
    values, px = MEMORY if s.weights("vae") else (), s.params.generation.width * s.params.generation.height
    return {memory: beside + stages.drawing_bytes(s, memory, px, 1, s.rates.step_peak) for memory in values}


def encoder_lack(params: Params, root: Path) -> str | None:
    """Return what the training of the encoder's transformer needs and this machine does not have.

    None if it has all, no transformer is trained, or no number of adapters is known. Raises as `make_plan`.
    """
    with suppress(ParamsError):
        if params.encoder.trains_transformer and (s := make_setting(params, root)):
            return "; ".join(_lacks(s, stages.encoder(s))) or None
    return None


def _lacks(s: Setting, cost: StageCost, server: float = 0.0) -> Iterator[str]:
    """Yield what a stage needs, on a card beside a server, and does not get."""
    beside = f" beside the vLLM server's {server / GB:.1f} GB" if server else ""
    needs = f"{cost.stage} needs {cost.gpu_memory / GB:,.1f} GB of GPU memory{beside}"
    if cost.gpu_memory and cost.gpu_memory + server > (card := s.rates.gpu_memory_bytes):
        yield f"{needs}, but a card has {card / GB:.1f} GB"
    if cost.memory > (memory := float(psutil.virtual_memory().total)):
        yield f"{cost.stage} needs {cost.memory / GB:,.1f} GB of memory, but this machine has {memory / GB:.1f} GB"


def _find_lacks(s: Setting, plan: Plan, folder: Path) -> Iterator[str]:
    """Yield what does not fit, one sentence each. folder: where the pool is, or will be."""
    hours, limit = plan.total["seconds"] / 3600, math.inf if s.own_files else s.params.refresh.timeout_h
    if not s.own_files and not s.has_gates:
        yield (
            f"fusion fails: the gates need {MIN_TRAINING_ADAPTERS} or more training adapters, but the shares "
            "for validation and test (dataset.validation_share, dataset.test_share) leave about "
            f"{s.work.training_adapters} of {counted(s.work.adapters, 'adapter')}: add adapters"
        )
    for cost in plan.stages:
        for lack in _lacks(s, cost, plan.server_gpu_memory):
            yield f"{lack}: lower {LOWER.get(cost.stage, 'its batch')}"
    if lacking := drawing_lack(plan.drawing, s.params.models.memory, s.rates.gpu_memory_bytes):
        yield ": ".join(lacking)
    if hours > limit * s.work.nights:
        yield (
            f"all stages take {hours:.1f} h, but a refresh fails after {limit:g} h (refresh.timeout_h); the next one "
            "continues from the stages that are finished"
        )
    missing, free = plan.total["disk"] * (1 - s.work.pooled / s.work.adapters), shutil.disk_usage(folder).free
    if missing > free:
        yield f"{missing / GB:,.1f} GB of disk are needed, but {folder} has {free / GB:,.1f} GB free"


def _server_bytes(s: Setting) -> float:
    """Return what a vLLM server on this machine reserves of the card; 0 without one."""
    models, hosts = s.params.models, [urlsplit(url).hostname for url in s.params.vllm.urls]
    if not s.is_gpu or s.params.captions.engine != "vllm" or not {*hosts} & {"127.0.0.1", "localhost", "::1"}:
        return 0.0
    weights, _ = size_of(models.vlm, models.vlm_revision)
    return float(min(MAX_SHARE * s.rates.gpu_memory_bytes, weights + BESIDE_WEIGHTS))


def _download_bytes(s: Setting) -> float:
    """Return the bytes of the models that are still to be downloaded."""
    models, judges = s.params.models, s.params.judges
    captioner = [(models.vlm, models.vlm_revision, "")] if s.params.captions.engine else []
    others = [(models.pipeline, models.pipeline_revision, part) for part in PARTS]
    others += [(judges.vlm, judges.vlm_revision, ""), (judges.clip, judges.clip_revision, "")]
    needed = captioner if s.own_files else captioner + others
    return sum(size_of(*model)[0] for model in needed if not is_here(*model[:2]))
