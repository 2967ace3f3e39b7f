"""The methods of fusion that the paper's tables compare: those of the product, and those of `studies.paper.rules`.

Without adapters, and with one alone, they act as the product's methods do.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from autolora.fusion import methods as product
from autolora.fusion.install import Attachment
from autolora.fusion.methods import LoadGates
from autolora.fusion.rules import Adapter, Rule
from autolora.params import METHODS as PRODUCT_METHODS
from studies.paper.rules.dare import Dare
from studies.paper.rules.klora import KLora

Method = Literal["direct", "gated", "dare", "klora", "klora_released"]
METHODS: tuple[Method, ...] = get_args(Method)
PAIRS_ONLY: tuple[Method, ...] = ("klora", "klora_released")
"""methods that combine a content adapter and a style adapter, in this order; the order changes no other"""
RULES: dict[str, Rule] = {
    "dare": Dare(drop=0.5, seed=0),
    "klora": KLora(released=False),
    "klora_released": KLora(released=True),
}
"""of the methods that the product does not have"""


def attach(pipeline: Any, adapters: Sequence[Adapter], method: Method, load_gates: LoadGates) -> Attachment:
    """Let adapters act in a pipeline by a method; return what removes them.

    load_gates: called for adapters and the method `gated` only. Raises as
    `autolora.fusion.methods.attach`; MismatchError if the method cannot combine the adapters.
    """
    for known in PRODUCT_METHODS:
        if method == known:
            return product.attach(pipeline, adapters, known, load_gates)
    if len(adapters) < 2:
        return product.attach(pipeline, adapters, "direct", load_gates)
    return RULES[method].attach(pipeline, adapters)
