"""The methods of fusion that experiments compare, and the images of a prompt case by each of them.

`base` loads no adapter; `direct` adds the updates of all loaded adapters; `selected` adds those of the adapters whose
relevance to the prompt, as a selection computes it, is above one half; `gated` weights the updates by the trained
gates.
"""

from collections.abc import Sequence

from PIL import Image

from autolora.experiments.cases import PromptCase
from autolora.experiments.scoring import MethodImages
from autolora.fusion.rules import Adapter
from autolora.generation.images import Generator, draw
from autolora.params import ExperimentsParams, GenerationParams, Method

METHODS = ("base", "direct", "selected", "gated")
DIFFERENCES = (("gated", "direct"), ("gated", "selected"), ("direct", "base"))
"""pairs of methods whose paired difference is reported"""
RELEVANT = 0.5


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
    return {name: added[parts] for name, parts in sums.items()} | {"gated": generate("gated", adapters)}
