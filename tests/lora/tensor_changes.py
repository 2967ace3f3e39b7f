"""How tools change the tensors of a LoRA and its header: types, further modules, and the LoraConfig."""

from collections.abc import Callable

import torch

from autolora.lora.factors import Lora
from tests.lora.writing import DOWN_UP, Tensors


def cast(*dtypes: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Return a change that stores the factors in these types, alternating."""

    def change(tensors: Tensors) -> Tensors:
        factors = [key for key in tensors if not key.endswith("alpha")]
        return tensors | {key: tensors[key].to(dtypes[i % len(dtypes)]) for i, key in enumerate(factors)}

    return change


def alphas(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: t.to(dtype) if k.endswith("alpha") else t for k, t in tensors.items()}


def with_modules(*modules: str, suffixes: tuple[str, str] = DOWN_UP) -> Callable[[Tensors], Tensors]:
    """Return a change that adds modules of the pipeline that are not slots."""
    return lambda tensors: (
        tensors | {f"{module}.{suffix}": torch.ones(2, 2) for module in modules for suffix in suffixes}
    )


def with_keys(*keys: str, value: float = 0.0) -> Callable[[Tensors], Tensors]:
    """Return a change that adds tensors that update no slot."""
    return lambda tensors: tensors | {key: torch.full((2, 2), value) for key in keys}


def as_convolutions(tensors: Tensors) -> Tensors:
    """Return the tensors with factors of the shape of 1 × 1 convolutions."""
    return {key: t if key.endswith("alpha") else t[:, :, None, None] for key, t in tensors.items()}


def config_of(lora: Lora) -> dict[str, object]:
    """Return a LoraConfig with a rank_pattern and an alpha_pattern, for modules that all differ."""
    ranks = {name: factors.rank for name, factors in lora.items()}
    patterns = {name: factors.scale * factors.rank for name, factors in lora.items()}
    return {"transformer.r": 9, "transformer.lora_alpha": 9, "transformer.rank_pattern": ranks,
            "transformer.alpha_pattern": patterns}  # fmt: skip


def rank_stabilized(lora: Lora) -> dict[str, object]:
    """Return the LoraConfig of rsLoRA, whose scale is alpha / √rank, for modules of equal rank and scale."""
    factors = next(iter(lora.values()))
    return {"r": factors.rank, "lora_alpha": factors.scale * factors.rank**0.5, "use_rslora": True}
