"""Training by several processes: each computes a part of every batch, and all have the same weights.

Every process draws the same random numbers and takes its part of the batch. What is computed of the whole batch is put
together (`mean`, `gather`), and `average_gradients` makes the gradients those of the whole batch, so that each process
takes the step that one alone would take, up to rounding. A process that `launch` has not started is the only one.
"""

import logging
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from autolora.errors import AutoLoraError, MismatchError, ParamsError
from autolora.gpu_memory import naming_what_to_lower
from autolora.progress import show_progress
from autolora.wording import counted

R = TypeVar("R")
SETTING = "operation.processes"
LOOPBACK = "127.0.0.1"
MESSAGE = 2**24
"""at most so many numbers are averaged at once, 64 MB, but all those of a weight that has more"""


def launch(train: Callable[[], R], number: int, device: str, stage: str) -> R:
    """Return what `train` returns in the first of a number of new processes; with one, call it here.

    train: must be picklable, so no closure. device: `models.device`; with cuda, each process gets a GPU of its own.
    stage: named if a GPU's memory does not suffice. The processes share this machine, and end with this one.
    Raises ParamsError if there are fewer GPUs, the AutoLoraError of a process, and an AutoLoraError if one ends
    otherwise; the others are ended then.
    """
    if number == 1:
        return train()
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _check_device(number, device)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the error is raised here
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=number,
            run_id=stage,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{LOOPBACK}:0",
            local_addr=LOOPBACK,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle="SIGTERM,SIGHUP,SIGQUIT",  # Ctrl-C is that of this process
        )
        reason = Path(folder) / "error"
        try:
            returned: dict[int, R] = elastic_launch(config, _work)(train, device, stage, reason)
        except ChildFailedError as error:
            if reason.exists():
                # `_work` wrote it, in a folder that only this user can read
                raise pickle.loads(reason.read_bytes()) from None
            message = error.get_first_failure()[1].message
            cause = message["message"] if isinstance(message, dict) else message
            raise AutoLoraError(
                f"a process of the stage {stage} ended: {cause}; if the kernel killed "
                f"it, memory did not suffice, since each process loads the base model: lower {SETTING}. The next run "
                "continues from the last state that was written"
            ) from error
    return returned[0]


def is_first() -> bool:
    """Return whether this is the first process, which writes files."""
    return rank() == 0


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def number() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def part(size: int) -> slice:
    """Return which items of a batch are this process's. Raises ParamsError if not all processes get equally many."""
    if size % number():
        raise ParamsError(f"a batch of {size} cannot be divided among {number()} processes ({SETTING})")
    share = size // number()
    return slice(rank() * share, (rank() + 1) * share)


def mean(value: Tensor) -> Tensor:
    """Return the mean of a scalar over the processes, equal in all; its gradient is that of this process's value."""
    if number() == 1:
        return value
    return _average(value.detach().clone()) + (value - value.detach())


def gather(rows: Tensor) -> Tensor:
    """Return the rows (N, ...) of all processes, in order, of which this process's own have a gradient.

    Their gradient is multiplied by the number of processes, because `average_gradients` divides by it. All processes
    must have equally many rows, and compute the same of what is returned.
    """
    if number() == 1:
        return rows
    from accelerate.utils import gather as gather_values

    values, own, times = gather_values(rows.detach()), rows.view_as(rows), number()
    own.register_hook(lambda gradient: gradient * times)  # type: ignore[no-untyped-call]  # torch's own
    start = rank() * len(rows)
    return torch.cat((values[:start], own, values[start + len(rows) :]))


def average_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Set each gradient to its mean over the processes, in which the same weights must have gradients."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if number() > 1:
        for message in _messages(gradients):
            vector_to_parameters(_average(parameters_to_vector(message)), message)


def check_equal(value: int, name: str) -> None:
    """Raise MismatchError if a number differs between the processes. name: what it is, for the message."""
    if number() > 1:
        values: list[int | None] = [None] * number()
        distributed.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise MismatchError(f"{name} differs between the processes ({values}): run the stage again")


def _check_device(number: int, device: str) -> None:
    """Raise ParamsError if the processes do not get a device each."""
    if device not in ("cpu", "cuda"):
        raise ParamsError(f"with {SETTING} above 1, models.device must be cpu or cuda, but it is {device!r}")
    if device == "cuda" and number > torch.cuda.device_count():
        raise ParamsError(
            f"{SETTING} is {number} and each process needs a GPU, but torch finds "
            f"{counted(torch.cuda.device_count(), 'GPU')}: lower it in params.yaml"
        )


def _work(train: Callable[[], R], device: str, stage: str, reason: Path) -> R | None:
    """Run the training in one of the processes; return what the first one returns.

    A process ends without leaving the group in order, which would wait for the others.
    """
    from accelerate import PartialState

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # sent if the parent dies; DVC's children ignore it
    PartialState(cpu=device == "cpu")  # joins the others, and selects the GPU
    if is_first():
        show_progress()
    try:
        with naming_what_to_lower(stage):
            result = train()
    except AutoLoraError as error:
        own = reason.with_name(f"error-{rank()}")  # all may fail, and be ended, at once
        own.write_bytes(pickle.dumps(error))
        own.rename(reason)
        raise
    return result if is_first() else None


def _messages(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield gradients in groups, because a message for each of thousands of small ones would take long."""
    group: list[Tensor] = []
    numbers = 0
    for gradient in gradients:
        if group and numbers + gradient.numel() > MESSAGE:
            yield group
            group, numbers = [], 0
        group.append(gradient)
        numbers += gradient.numel()
    if group:
        yield group


def _average(tensor: Tensor) -> Tensor:
    """Set a tensor to its mean over the processes, and return it."""
    distributed.all_reduce(tensor)
    return tensor.div_(number())
