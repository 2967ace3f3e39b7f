"""What may go wrong if a plan is carried out: what does not fit, and what takes longest."""

import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from autolora.errors import ParamsError
from autolora.gpu_memory import LOWER, drawing_lack
from autolora.params import Params
from autolora.planning import model_stages
from autolora.planning.cost import StageCost
from autolora.planning.plan import Plan, make_setting
from autolora.planning.workload import MIN_TRAINING_ADAPTERS
from autolora.wording import counted

GB, HOUR = 1e9, 3600.0
MANY_REQUESTS = 50_000
LARGE_SHARE = 0.25
"""share of all hours from which a stage is named"""


def find_risks(plan: Plan, params: Params, folder: Path) -> list[str]:
    """Return one sentence per risk, the gravest first. folder: where the pool will be, for the free space there."""
    return [
        *(() if plan.own_files else _training(plan)),
        *_card(plan),
        *_drawing(plan, params),
        *_time(plan, math.inf if plan.own_files else params.refresh.timeout_h),
        *_requests(plan, params),
        *_space(plan, folder),
    ]


def encoder_lack(params: Params, root: Path) -> str | None:
    """Return what the training of the encoder's transformer needs and this machine does not have.

    None if it has all, if no transformer is trained, or if the number of adapters is not known yet. Raises as
    `make_setting`, and MismatchError if the heads do not divide the text encoder's width.
    """
    if not params.encoder.trains_transformer:
        return None
    with suppress(ParamsError):
        setting = make_setting(params, root)
        cost = model_stages.encoder(setting)
        return "; ".join(_lacks(cost, setting.rate("gpu_memory_bytes"), _memory_bytes())) or None
    return None


def _lacks(stage: StageCost, card: float, memory: float, server: float = 0.0) -> Iterator[str]:
    """Yield what a stage needs and does not get. card, memory: bytes of the card and of the machine."""
    if stage.gpu_memory and stage.gpu_memory + server > card:
        beside = f" beside the vLLM server's {server / GB:.1f} GB" if server else ""
        yield (
            f"{stage.stage} needs {stage.gpu_memory / GB:,.1f} GB of GPU memory{beside}, but a card has "
            f"{card / GB:.1f} GB ({stage.does})"
        )
    if stage.memory > memory:
        yield (
            f"{stage.stage} needs {stage.memory / GB:,.1f} GB of memory, but this machine has {memory / GB:.1f} GB "
            f"({stage.does})"
        )


def _memory_bytes() -> float:
    return float(psutil.virtual_memory().total)


def _training(plan: Plan) -> Iterator[str]:
    """Yield that the gates cannot be trained."""
    work = plan.workload
    if not work.can_train_gates:
        yield (
            f"fusion fails: the gates need {MIN_TRAINING_ADAPTERS} or more training adapters, but the shares "
            "for validation and test (dataset.validation_share, dataset.test_share) leave about "
            f"{work.training_adapters} of {counted(work.adapters, 'adapter')}: add adapters"
        )


def _card(plan: Plan) -> Iterator[str]:
    """Yield the stages that do not fit on the card."""
    card, server = plan.rates["gpu_memory_bytes"].value, plan.server_gpu_memory
    for stage in plan.stages:
        for lack in _lacks(stage, card, math.inf, server):
            alone = ", or give the server a card of its own" if server else ""
            yield f"{lack}: lower {LOWER.get(stage.stage, 'its batch')}{alone}"


def _drawing(plan: Plan, params: Params) -> Iterator[str]:
    """Yield that an image does not fit on the card."""
    if lack := drawing_lack(plan.drawing, params.models.memory, plan.rates["gpu_memory_bytes"].value):
        yield ": ".join(lack)


def _time(plan: Plan, limit: float) -> Iterator[str]:
    """Yield what exceeds a limit in days or hours, and the longest stage. limit: hours of a refresh."""
    work, hours = plan.workload, plan.seconds / HOUR
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
    free = shutil.disk_usage(folder).free
    if plan.disk > free:
        yield f"{plan.disk / GB:,.1f} GB of disk, but {folder} has {free / GB:,.1f} GB free on this machine"
    largest = max(plan.stages, key=lambda stage: stage.memory)
    yield from _lacks(largest, math.inf, _memory_bytes())
