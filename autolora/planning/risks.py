"""What may go wrong if a plan is carried out: what does not fit, and what takes longest."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from autolora.params import Params
from autolora.planning.plan import Plan
from autolora.planning.workload import MIN_TRAINING_ADAPTERS
from autolora.wording import counted

GB, HOUR = 1e9, 3600.0
MANY_REQUESTS = 50_000
LARGE_SHARE = 0.25
"""share of all hours from which a stage is named"""


def find_risks(plan: Plan, params: Params, folder: Path) -> list[str]:
    """Return one sentence per risk, the gravest first. folder: where the pool will be, for the free space there."""
    return [
        *_training(plan, params),
        *_card(plan),
        *_time(plan, params),
        *_requests(plan, params),
        *_space(plan, folder),
    ]


def _training(plan: Plan, params: Params) -> Iterator[str]:
    """Yield that the gates cannot be trained."""
    work = plan.workload
    if params.fusion.from_ is None and not work.can_train_gates:
        yield (
            f"fusion fails: the gates need {MIN_TRAINING_ADAPTERS} or more training adapters, but the shares "
            "for validation and test (dataset.validation_share, dataset.test_share) leave about "
            f"{work.training_adapters} of {counted(work.adapters, 'adapter')}: add adapters, or use pretrained gates "
            "(fusion.from)"
        )


def _card(plan: Plan) -> Iterator[str]:
    """Yield the stages that do not fit on the card."""
    card, server = plan.rates["gpu_memory_bytes"].value, plan.server_gpu_memory
    for stage in plan.stages:
        if stage.gpu_memory and stage.gpu_memory + server > card:
            beside = f" beside the vLLM server's {server / GB:.1f} GB" if server else ""
            yield (
                f"{stage.stage} needs {stage.gpu_memory / GB:.1f} GB of GPU memory{beside}, but a card has "
                f"{card / GB:.1f} GB: lower its batch, or give the server a card of its own"
            )


def _time(plan: Plan, params: Params) -> Iterator[str]:
    """Yield what exceeds a limit in days or hours, and the longest stage."""
    work, hours, limit = plan.workload, plan.seconds / HOUR, params.refresh.timeout_h
    days = work.days
    if days > 1:
        yield f"crawl.budget admits {work.per_day:,} adapters per day: {work.adapters:,} take {days} days"
    if hours > limit * days:
        yield (
            f"all stages take {hours:.1f} h, but a refresh fails after {limit:g} h (refresh.timeout_h); the next one "
            "continues from the stages that are finished"
        )
    longest = max(plan.stages, key=lambda stage: stage.seconds)
    if longest.seconds > LARGE_SHARE * plan.seconds:
        yield f"{longest.stage} takes {longest.seconds / plan.seconds:.0%} of the time: {longest.does}"


def _requests(plan: Plan, params: Params) -> Iterator[str]:
    """Yield large numbers of requests."""
    work = plan.workload
    if (asked := sum(stage.vlm_requests for stage in plan.stages)) >= MANY_REQUESTS:
        yield (
            f"captioning {work.adapters:,} adapters × {work.images_per_adapter:g} images × {work.lengths} captions: "
            f"{asked:,} requests to the vLLM server"
        )
    rate = params.hubs.requests_per_s
    if (asked := sum(stage.hub_requests for stage in plan.stages)) >= MANY_REQUESTS:
        yield (
            f"{asked:,} requests to the hubs, at {rate:g} per second (hubs.requests_per_s): "
            f"{asked / rate / HOUR:.1f} h"
        )


def _space(plan: Plan, folder: Path) -> Iterator[str]:
    """Yield what this machine does not have."""
    free, memory = shutil.disk_usage(folder).free, psutil.virtual_memory().total
    if plan.disk > free:
        yield f"{plan.disk / GB:,.1f} GB of disk, but {folder} has {free / GB:,.1f} GB free on this machine"
    if plan.memory > memory:
        yield f"{plan.memory / GB:.1f} GB of memory, but this machine has {memory / GB:.1f} GB"
