"""The linears of a transformer that adapters change, also inside the wrappers of other libraries.

PEFT wraps a linear in a module of its own, whose `base_layer` it is. AutoLoRA adds to the linear itself: PEFT's own
adapters then stay active, and may be loaded, merged or unloaded before and after. Quantized linears (torchao,
bitsandbytes) are linears whose weight has another type or shape, so widths are those that the linear states.
"""

from typing import Any

import torch
from torch import nn

from autolora.errors import MismatchError

PROJECTIONS = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
"""linears that diffusers replaces if their attention's projections are fused"""


def find_linear(transformer: nn.Module, name: str) -> nn.Linear:
    """Return the linear of a slot.

    Raises MismatchError if the transformer has none of this name, or if what is there ignores or scales what is added.
    """
    try:
        module: Any = transformer.get_submodule(name)
    except AttributeError as error:
        raise MismatchError(
            f"an adapter changes '{name}', which the base model does not have: the adapter was made for another base "
            "model; remove it"
        ) from error
    parent, _, projection = name.rpartition(".")
    if projection in PROJECTIONS and getattr(transformer.get_submodule(parent), "fused_projections", False):
        raise MismatchError(
            f"diffusers has fused the projections of '{parent}' and does not use '{projection}': call "
            "`unfuse_qkv_projections()` of the transformer first"
        )
    while hasattr(module, "base_layer"):
        if getattr(module, "lora_variant", None) and not module.merged:
            raise MismatchError(
                f"'{name}' has an adapter of PEFT that scales the whole output of the linear (such as DoRA), so also "
                "what AutoLoRA adds: merge it first (`fuse_lora()` of the pipeline), or unload it"
            )
        module = module.base_layer
    if not isinstance(module, nn.Linear):
        raise MismatchError(
            f"'{name}' of the base model is a {type(module).__name__}, but adapters are added to linears only "
            "(torch.nn.Linear, also wrapped by PEFT or quantized by torchao or bitsandbytes): load the base model "
            "with another quantization"
        )
    return module


def execution_device(transformer: nn.Module, linear: nn.Linear) -> torch.device:
    """Return the device on which a linear is expected to run; accelerate keeps offloaded weights elsewhere until then.

    A weight on no device (meta) has the CPU.
    """
    for module in (linear, transformer):
        device: Any = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device("cpu") if linear.weight.is_meta else linear.weight.device


def is_compiled(transformer: nn.Module) -> bool:
    """Return whether a part of the transformer is compiled by torch.compile, in any of its forms."""
    return any(
        module._compiled_call_impl is not None
        or hasattr(module, "_orig_mod")
        or hasattr(module.forward, "_torchdynamo_orig_callable")
        for module in transformer.modules()
    )
