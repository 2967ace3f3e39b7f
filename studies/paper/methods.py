"""The methods of fusion that the studies compare: those of the product, and those of `studies.paper.rules`.

Without adapters, and with one alone, they act as the product's methods do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from autolora.fusion import methods as product
from autolora.fusion.install import Attachment
from autolora.fusion.methods import LoadGates
from autolora.fusion.rules import Adapter, Rule
from autolora.params import METHODS as PRODUCT_METHODS
from studies.paper.rules.composite import Composite
from studies.paper.rules.dare import Dare
from studies.paper.rules.factorwise import DareFactors, TiesFactors, check_ranks
from studies.paper.rules.klora import KLora, KLoraBalanced, check_pair
from studies.paper.rules.knots import Knots
from studies.paper.rules.mean import Mean
from studies.paper.rules.switch import Switch
from studies.paper.rules.ties import Ties, TiesSlots
from studies.paper.rules.velocity import Velocity

Method = Literal[
    "direct", "gated", "mean", "velocity", "composite", "switch", "ties", "ties_slots", "ties_factors", "dare",
    "dare_factors", "knots", "knots_released", "klora", "klora_released", "klora_balanced",
]  # fmt: skip
METHODS: tuple[Method, ...] = get_args(Method)
PAIRS_ONLY: tuple[Method, ...] = ("klora", "klora_released")
"""methods that combine a content adapter and a style adapter, in this order; the order changes no other"""
EQUAL_RANKS: tuple[Method, ...] = ("ties_factors", "dare_factors")
"""methods that combine only adapters of equal ranks"""
CHECKS: Mapping[Method, Callable[[Sequence[Adapter]], None]] = {
    **dict.fromkeys(PAIRS_ONLY, check_pair),
    **dict.fromkeys(EQUAL_RANKS, check_ranks),
}
"""method -> raises MismatchError if it cannot combine the adapters, whatever the base model; others combine any"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleNumbers:
    """The numbers in the rules, by default those of all published tables."""

    switch_steps: int = 5
    """switch: consecutive denoising steps of one adapter"""
    density: float = 0.2
    """ties, knots: share of the values, largest first, that are not set to 0; above 0 and below 1"""
    drop: float = 0.5
    """dare: probability with which a value is set to 0; above 0 and below 1"""
    seed: int = 0
    """dare: of the values that are set to 0"""


NUMBERS = RuleNumbers()


def attach(
    pipeline: Any,
    adapters: Sequence[Adapter],
    method: Method,
    load_gates: LoadGates,
    numbers: RuleNumbers = NUMBERS,
) -> Attachment:
    """Let adapters act in a pipeline by a method; return what removes them.

    load_gates: called for adapters and the method `gated` only. Raises as
    `autolora.fusion.methods.attach`; MismatchError if the method cannot combine the adapters.
    """
    for known in PRODUCT_METHODS:
        if method == known:
            return product.attach(pipeline, adapters, known, load_gates)
    if len(adapters) < 2:
        return product.attach(pipeline, adapters, "direct", load_gates)
    if check := CHECKS.get(method):
        check(adapters)
    return make_rule(method, numbers).attach(pipeline, adapters)


def make_rule(method: Method, numbers: RuleNumbers) -> Rule:
    """Return the rule of a method that the product does not have."""
    rules: dict[str, Rule] = {
        "mean": Mean(),
        "velocity": Velocity(),
        "composite": Composite(),
        "switch": Switch(numbers.switch_steps),
        "ties": Ties(numbers.density),
        "ties_slots": TiesSlots(numbers.density),
        "ties_factors": TiesFactors(numbers.density),
        "dare": Dare(numbers.drop, numbers.seed),
        "dare_factors": DareFactors(numbers.drop, numbers.seed),
        "knots": Knots(numbers.density, scaled=False),
        "knots_released": Knots(numbers.density, scaled=True),
        "klora": KLora(released=False),
        "klora_released": KLora(released=True),
        "klora_balanced": KLoraBalanced(),
    }
    return rules[method]
