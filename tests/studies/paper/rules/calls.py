"""What adapters do to one call of a tiny transformer by a method of the studies."""

from collections.abc import Sequence

from torch import Tensor

from autolora.fusion.rules import Adapter
from studies.paper.methods import Method, RuleNumbers, attach
from tests.fusion.rules.adapters import load_gates
from tests.support.one_call import OneCall

DENSE = RuleNumbers(density=0.5, drop=0.1)
"""tiny matrices have few values, so that more of them must stay"""


def run(
    pipeline: OneCall, adapters: Sequence[Adapter], method: Method, numbers: RuleNumbers = DENSE
) -> Tensor:
    """Return the output (2, 4, 16) of a call with adapters."""
    with attach(pipeline, adapters, method, load_gates, numbers):
        return pipeline()
