"""The methods of fusion that experiments compare, and the images of a prompt case by each of them.

`base` loads no adapter; `direct` adds the updates of all loaded adapters; `selected` adds those of the adapters whose
relevance to the prompt, as a selection computes it, is above one half; `gated` weights the updates by the trained
gates; `experiments.further_methods` names others of `autolora.fusion.methods`.
"""

from collections.abc import Sequence

from PIL import Image

from autolora.experiments.cases import PromptCase
from autolora.experiments.scoring import MethodImages
from autolora.fusion.rules import Adapter
from autolora.generation.images import Generator, draw
from autolora.params import ExperimentsParams, GenerationParams, Method

METHODS = ("base", "direct", "selected", "gated")
"""the methods that are always compared"""
DIFFERENCES = (("gated", "direct"), ("gated", "selected"), ("direct", "base"))
RELEVANT = 0.5


def method_names(params: ExperimentsParams) -> tuple[str, ...]:
    """Return the methods to compare, each once."""
    return tuple(dict.fromkeys((*METHODS, *params.further_methods)))


def differences(params: ExperimentsParams) -> list[tuple[str, str]]:
    """Return the pairs of methods whose paired difference is reported."""
    further = [name for name in method_names(params) if name not in METHODS]
    return [*DIFFERENCES, *((name, "direct") for name in further)]


def generate_by_method(
    generator: Generator,
    case: PromptCase,
    relevance: Sequence[float],
    params: ExperimentsParams,
    generation: GenerationParams,
) -> MethodImages:
    """Return each method's images of a case, from the same seeds; methods that add the same adapters share them."""
    adapters = [
        Adapter(sha256, generator.load_lora(sha256), score)
        for sha256, score in zip(case.adapters, relevance, strict=True)
    ]
    seeds = [params.seed + i for i in range(params.images)]

    def generate(method: Method, parts: Sequence[Adapter]) -> list[Image.Image]:
        prompts = [case.prompt] * len(seeds)
        return draw(generator, prompts, parts, seeds, method=method, params=generation)

    sums: dict[str, tuple[Adapter, ...]] = {
        "base": (),
        "direct": tuple(adapters),
        "selected": tuple(adapter for adapter in adapters if (adapter.relevance or 0) > RELEVANT),
    }
    added = {parts: generate("direct", parts) for parts in dict.fromkeys(sums.values())}
    images = {name: added[parts] for name, parts in sums.items()} | {"gated": generate("gated", adapters)}
    for name in params.further_methods:
        if name not in images:  # one adapter alone acts as its update, whatever the method
            images[name] = generate(name, adapters) if len(adapters) > 1 else images["direct"]
    return images
