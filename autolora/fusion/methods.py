"""Methods of fusion: which rule a name stands for, and adapters attached by it.

What all methods have in common: an adapter of strength 0 is left out; without adapters the base model is as it is; one
adapter alone acts as its update, whatever the method, except that `gated` passes it through the gates.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from autolora.fusion.gate import Gates
from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter, Rule
from autolora.fusion.rules.direct import Direct
from autolora.fusion.rules.gated import Gated
from autolora.lora.factors import Lora
from autolora.params import Method
from autolora.params.limits import check_method
from autolora.records import Hit

LoadGates = Callable[[], Gates]


def attach(
    pipeline: Any,
    adapters: Sequence[Adapter],
    method: Method,
    load_gates: LoadGates,
) -> Attachment:
    """Let adapters act in a pipeline by a method of fusion; return what removes them.

    Arguments and errors as `choose_rule`; ValueError if there is no such method; MismatchError also if they do not fit
    the pipeline.
    """
    check_method(method)
    return choose_rule(adapters, method, load_gates).attach(pipeline, adapters)


def to_adapter(hit: Hit, lora: Lora) -> Adapter:
    """Return what acts of a hit, given the updates of its adapter."""
    return Adapter(hit.sha256, strengthened(lora, hit.strength), hit.relevance)


def strengthened(lora: Lora, strength: float) -> Lora:
    """Return the adapter with its scales multiplied by `strength`."""
    return {name: replace(factors, scale=factors.scale * strength) for name, factors in lora.items()}


def choose_rule(
    adapters: Sequence[Adapter],
    method: Method,
    load_gates: LoadGates,
) -> Rule:
    """Return the rule by which adapters act.

    load_gates: called for adapters and the method `gated` only. Raises MissingArtifact or MismatchError as it does.
    """
    if adapters and method == "gated":
        return Gated(load_gates())
    return Direct()
