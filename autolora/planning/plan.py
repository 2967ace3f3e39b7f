"""The plan of a run from nothing: what each stage needs, what all need together, and what may go wrong."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from autolora.gpu_memory import Needs, card_bytes
from autolora.lora.slots import slots
from autolora.params import Params
from autolora.planning import data_stages, meta_models, model_stages
from autolora.planning.cost import Setting, StageCost
from autolora.planning.drawing import drawing_needs
from autolora.planning.meta_models import weight_bytes
from autolora.planning.rates import Rate, load_rates, machine
from autolora.planning.workload import VALUE_BYTES, Workload, make_workload
from autolora.stages import is_pipeline
from autolora.vlm.server import BESIDE_WEIGHTS, MAX_SHARE

ESTIMATES: tuple[Callable[[Setting], StageCost], ...] = (
    data_stages.crawl, data_stages.pool, data_stages.captions, data_stages.dataset,
    model_stages.encoder, data_stages.index, model_stages.fusion, data_stages.evaluation,
    model_stages.experiments, data_stages.report,
)  # fmt: skip
"""in the order in which a refresh runs them"""
ESTIMATES_OF_OWN_FILES = (
    data_stages.pool, data_stages.captions, data_stages.dataset, model_stages.encoder, data_stages.index,
)  # fmt: skip
"""what `autolora index` runs, in a project without dvc.yaml"""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An estimate; sizes in bytes."""

    device: str
    """as in params.yaml"""
    workload: Workload
    stages: tuple[StageCost, ...]
    models_disk: float
    """of the models that are downloaded"""
    server_gpu_memory: float
    """that a vLLM server on the same card keeps all the time"""
    rates: Mapping[str, Rate]
    drawing: Needs = field(default_factory=dict)
    """bytes of the card for an image, for each value of models.memory; empty without a GPU"""
    own_files: bool = False
    """whether `autolora index` runs the stages, and no refresh"""

    @property
    def seconds(self) -> float:
        """The sum over the stages, which run one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk(self) -> float:
        """All outputs and downloaded models; DVC's cache holds links to the outputs."""
        return self.models_disk + sum(stage.disk for stage in self.stages)

    @property
    def memory(self) -> float:
        """The largest memory of a stage."""
        return max(stage.memory for stage in self.stages)

    @property
    def gpu_memory(self) -> float:
        """The largest memory of a stage on the card, beside the vLLM server's."""
        return self.server_gpu_memory + max(stage.gpu_memory for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        totals = {name: getattr(self, name) for name in ("seconds", "disk", "memory", "gpu_memory")}
        content = asdict(self) | {"total": totals}
        content["drawing"] = {memory or "null": size for memory, size in self.drawing.items()}
        content["rates"] = {
            name: row | {"date": row["date"].isoformat()} for name, row in content["rates"].items()
        }
        return content


def make_plan(
    params: Params,
    root: Path | None,
    adapters: int | None = None,
    images_per_adapter: float | None = None,
    listed: int | None = None,
) -> Plan:
    """Return the plan for adapters with a number of images each; arguments and errors as `make_setting`."""
    setting = make_setting(params, root, adapters, images_per_adapter, listed)
    work, is_gpu = setting.work, setting.machine.is_gpu
    return Plan(
        device=params.models.device,
        workload=work,
        stages=tuple(
            estimate(setting) for estimate in (ESTIMATES_OF_OWN_FILES if setting.own_files else ESTIMATES)
        ),
        models_disk=_downloads(setting),
        server_gpu_memory=_server_bytes(setting) if is_gpu and has_server(params) else 0.0,
        drawing=drawing_needs(setting.pipeline, params.generation, work.rank, work.file_bytes)
        if is_gpu
        else {},
        rates=setting.rates,
        own_files=setting.own_files,
    )


def make_setting(
    params: Params,
    root: Path | None,
    adapters: int | None = None,
    images_per_adapter: float | None = None,
    listed: int | None = None,
) -> Setting:
    """Return what the estimates read.

    root: of the project that the params are of, whose catalog gives the numbers that are not given; None if of none.
    Raises ParamsError if the number of adapters is unknown, MissingArtifact or HubError if a model's config cannot be
    read.
    """
    own_files = root is not None and not is_pipeline(root)
    parts = meta_models.PARTS_OF_SEARCH if own_files else meta_models.PARTS
    rates = load_rates(card_bytes() if params.models.device.startswith("cuda") else None)
    pipeline = meta_models.pipeline(params.models, parts)
    threads = params.models.threads or os.cpu_count() or 1
    canonical = slots(pipeline.configs["transformer"])
    return Setting(
        params=params,
        work=make_workload(
            params, canonical, rates["lora_rank"].value, root, adapters, images_per_adapter, listed
        ),
        rates=rates,
        machine=machine(params.models, rates, threads),
        pipeline=pipeline,
        threads=threads,
        own_files=own_files,
    )


def has_server(params: Params) -> bool:
    """Return whether params.yaml names a vLLM server on this machine."""
    hosts = [urlsplit(url).hostname for url in params.vllm.urls]
    return params.captions.engine == "vllm" and any(host in LOCAL_HOSTS for host in hosts)


def _server_bytes(setting: Setting) -> float:
    """Return what `autolora vllm` reserves of the card."""
    weights = meta_models.captioner_bytes(setting.params.models)
    return min(MAX_SHARE * setting.rate("gpu_memory_bytes"), weights + BESIDE_WEIGHTS)


def _downloads(setting: Setting) -> float:
    """Return the bytes of the models that are not folders here: hubs have them in 16 bits, and CLIP in 32."""
    names, judges = setting.params.models, setting.params.judges

    def in_16_bits(size: int, dtype: torch.dtype) -> float:
        return size / dtype.itemsize * VALUE_BYTES

    sizes: dict[str, Callable[[], float]] = {}
    if not setting.own_files:
        sizes = {
            names.pipeline: lambda: in_16_bits(setting.pipeline.size, setting.pipeline.dtype),
            judges.vlm: lambda: in_16_bits(weight_bytes(setting.judge), setting.judge.dtype),
            judges.clip: lambda: weight_bytes(setting.judge_clip),
        }
    if setting.params.captions.engine:
        sizes[names.vlm] = lambda: in_16_bits(weight_bytes(setting.captioner), setting.captioner.dtype)
    return sum(size() for name, size in sizes.items() if not Path(name).is_dir())
