"""Training by several processes: each computes a part of every batch, and all have the same weights.

Every process draws the same random numbers and takes its part of the batch. What is computed of the whole batch is put
together (`mean`, `gather`), and `average_gradients` makes the gradients those of the whole batch, so that each process
takes the step that one alone would take, up to rounding. A process that `launch` has not started is the only one.
"""

import logging
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from autolora.errors import AutoLoraError, ParamsError
from autolora.gpu_memory import naming_what_to_lower
from autolora.progress import show_progress

R = TypeVar("R")
SETTING = "operation.processes"
LOOPBACK = "127.0.0.1"


def launch(train: Callable[[], R], number: int, device: str, stage: str) -> R:
    """Return what `train` returns in the first of a number of new processes; with one, call it here.

    train: must be picklable, so no closure. device: `models.device`; with cuda, each process gets a GPU of its own.
    stage: named if a GPU's memory does not suffice. The processes share this machine, and end with this one.
    Raises ParamsError if there are fewer GPUs, an AutoLoraError that a process raises, and torch's ChildFailedError if
    one ends otherwise; the others are ended then.
    """
    if number == 1:
        return train()
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if device != "cpu" and number > torch.cuda.device_count():
        raise ParamsError(
            f"{SETTING} is {number} but there are {torch.cuda.device_count()} GPUs, and each process needs one: lower "
            "it in params.yaml"
        )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the error is raised here
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=stage,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOOPBACK}:0",
        local_addr=LOOPBACK,
        max_restarts=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        reason = Path(folder) / "error"
        try:
            returned: dict[int, R] = elastic_launch(config, _work)(train, device, stage, reason)
        except ChildFailedError:
            if reason.exists():
                raise pickle.loads(reason.read_bytes()) from None
            raise
    return returned[0]


def is_first() -> bool:
    """Return whether this is the first process, which writes files."""
    return _rank() == 0


def part(size: int) -> slice:
    """Return which items of a batch are this process's. Raises ParamsError if not all processes get equally many."""
    number = _number()
    if size % number:
        raise ParamsError(
            f"a batch of {size} is no multiple of {SETTING} ({number}): change one of them in params.yaml; a batch has "
            "at most as many items as there are training adapters"
        )
    share = size // number
    return slice(_rank() * share, (_rank() + 1) * share)


def own_seed(generator: torch.Generator) -> int:
    """Return a seed that no other process gets, from a generator whose state is the same in all of them."""
    return int(torch.randint(2**62, (), generator=generator)) + _rank()


def mean(value: Tensor) -> Tensor:
    """Return the mean of a scalar over the processes; its gradient is that of this process's value."""
    if _number() == 1:
        return value
    return value + (_averaged(value.detach()) - value.detach())


def gather(rows: Tensor) -> Tensor:
    """Return the rows (N, ...) of all processes, in order, of which this process's own have a gradient.

    It is that of their sum over the processes, so that `average_gradients` is right if all compute the same of the
    gathered rows.
    """
    if (number := _number()) == 1:
        return rows
    from accelerate.utils import gather as gather_values

    values, own = gather_values(rows.detach()), rows.view_as(rows)
    own.register_hook(lambda gradient: gradient * number)  # type: ignore[no-untyped-call]  # torch's own
    start = _rank() * len(rows)
    return torch.cat((values[:start], own, values[start + len(rows) :]))


def average_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Set each gradient to its mean over the processes, in which the same weights have gradients."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if _number() > 1 and gradients:
        vector_to_parameters(_averaged(parameters_to_vector(gradients)), gradients)  # one message for all


def _work(train: Callable[[], R], device: str, stage: str, reason: Path) -> R | None:
    """Run the training in one of the processes; return what the first one returns."""
    from accelerate import PartialState

    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # sent if the parent dies; DVC's children ignore it
    state = PartialState(cpu=device == "cpu")  # joins the others, and selects the GPU
    if is_first():
        show_progress()
    try:
        with naming_what_to_lower(stage):
            result = train()
        return result if is_first() else None
    except AutoLoraError as error:
        reason.write_bytes(pickle.dumps(error))
        raise
    finally:
        state.destroy_process_group()


def _averaged(tensor: Tensor) -> Tensor:
    from accelerate.utils import reduce

    averaged: Tensor = reduce(tensor, "mean")
    return averaged


def _number() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
