"""What adapters do to one call of a tiny transformer by a method of the studies."""

from collections.abc import Sequence

from torch import Tensor

from autolora.fusion.rules import Adapter
from studies.paper.methods import Method, attach
from tests.fusion.rules.adapters import load_gates
from tests.support.one_call import OneCall


def run(pipeline: OneCall, adapters: Sequence[Adapter], method: Method) -> Tensor:
    """Return the output (2, 4, 16) of a call with adapters."""
    with attach(pipeline, adapters, method, load_gates):
        return pipeline()
