"""Methods of fusion: which rule a name stands for, and adapters attached by it.

What all methods have in common: an adapter of strength 0 is left out; without adapters the base model is as it is; one
adapter alone acts as its update, whatever the method, except that `gated` passes it through the gates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autolora.fusion.gate import Gates
from autolora.fusion.install import Attachment
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.rules import Adapter, Rule
from autolora.fusion.rules.composite import Composite
from autolora.fusion.rules.dare import Dare
from autolora.fusion.rules.direct import Direct
from autolora.fusion.rules.factorwise import DareFactors, TiesFactors, check_ranks
from autolora.fusion.rules.gated import Gated
from autolora.fusion.rules.klora import KLora, KLoraBalanced, check_pair
from autolora.fusion.rules.knots import Knots
from autolora.fusion.rules.mean import Mean
from autolora.fusion.rules.switch import Switch
from autolora.fusion.rules.ties import Ties, TiesSlots
from autolora.fusion.rules.velocity import Velocity
from autolora.params import Method, RuleParams, check_method

LoadGates = Callable[[], Gates]
CHECKS: Mapping[Method, Callable[[Sequence[Adapter]], None]] = {
    "klora": check_pair, "klora_released": check_pair, "ties_factors": check_ranks, "dare_factors": check_ranks,
}  # fmt: skip
"""method -> raises MismatchError if it cannot combine the adapters, whatever the base model; others combine any"""


def attach(
    pipeline: Any,
    adapters: Sequence[Adapter],
    method: Method,
    params: RuleParams,
    load_gates: LoadGates,
    recorder: GateRecorder | None = None,
) -> Attachment:
    """Let adapters act in a pipeline by a method of fusion; return what removes them.

    Arguments and errors as `choose_rule`; MismatchError also if adapters or gates do not fit the pipeline.
    """
    return choose_rule(adapters, method, params, load_gates, recorder).attach(pipeline, adapters)


def choose_rule(
    adapters: Sequence[Adapter],
    method: Method,
    params: RuleParams,
    load_gates: LoadGates,
    recorder: GateRecorder | None = None,
) -> Rule:
    """Return the rule by which adapters act.

    load_gates: called for adapters and the method `gated` only, as is `recorder`, which gets the means of the gates.
    Raises ValueError if there is no such method; MissingArtifact or MismatchError as `load_gates`; MismatchError if the
    method cannot combine the adapters.
    """
    check_method(method)
    if not adapters or (len(adapters) == 1 and method != "gated"):
        return Direct()
    if check := CHECKS.get(method):
        check(adapters)
    return make_rule(method, params, load_gates, recorder)


def make_rule(
    method: Method, params: RuleParams, load_gates: LoadGates, recorder: GateRecorder | None = None
) -> Rule:
    """Return the rule of a method; raises MissingArtifact as `load_gates`, which is called for `gated` only."""
    if method == "gated":
        return Gated(load_gates(), recorder)
    rules: dict[str, Rule] = {
        "direct": Direct(),
        "mean": Mean(),
        "velocity": Velocity(params.velocity_factor, params.velocity_share),
        "composite": Composite(),
        "switch": Switch(params.switch_steps),
        "ties": Ties(params.density),
        "ties_slots": TiesSlots(params.density),
        "ties_factors": TiesFactors(params.density),
        "dare": Dare(params.drop, params.seed),
        "dare_factors": DareFactors(params.drop, params.seed),
        "knots": Knots(params.density, scaled=False),
        "knots_released": Knots(params.density, scaled=True),
        "klora": KLora(released=False),
        "klora_released": KLora(released=True),
        "klora_balanced": KLoraBalanced(),
    }
    return rules[method]
