"""The step of a denoising, as the scheduler of its pipeline counts it: rules that change by the step read it."""

import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autolora.errors import MismatchError

TRAIN_TIMESTEPS = 1000
"""the pipelines of FLUX pass a timestep divided by this to the transformer"""
TOLERANCE = 0.01
"""of a timestep, 0 to 1, that was rounded to bfloat16"""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a denoising."""

    number: int
    """counted from 0"""
    total: int
    """number of steps of this denoising; a scheduler of second order counts two for most noise levels"""

    @property
    def share(self) -> float:
        """Return the share of the steps that are done, 0 to below 1."""
        return self.number / self.total


class DenoisingSteps:
    """Reads the current step from the scheduler that a pipeline has at that time."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = weakref.ref(pipeline)

    def read(self, timestep: Tensor | None) -> Step:
        """Return the current step.

        timestep: what the transformer is called with, (B,), 0 to 1, to check that this pipeline calls it.
        Raises MismatchError if it does not.
        """
        scheduler = getattr(self._pipeline(), "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", ())
        begin = getattr(scheduler, "begin_index", None) or 0
        current = getattr(scheduler, "step_index", None)
        index = begin if current is None else current
        if index >= len(timesteps) or not _is_near(timestep, timesteps[index]):
            raise MismatchError(
                "the transformer is called outside the steps of the pipeline that the adapters were attached to, but "
                "the method acts by the step: call that pipeline, or use a method that does not, such as `direct`"
            )
        return Step(index - begin, len(timesteps) - begin)


def _is_near(timestep: Tensor | None, expected: Any) -> bool:
    """Return whether a timestep is that of the scheduler; True if the timestep is unknown."""
    return (
        timestep is None or abs(float(timestep.flatten()[0]) - float(expected) / TRAIN_TIMESTEPS) < TOLERANCE
    )
