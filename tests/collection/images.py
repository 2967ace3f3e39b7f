"""Images of a tiny pipeline, and its state before and after adapters are attached."""

from typing import Any

import numpy as np
import torch

from tests.support.tiny_flux import TOKENS

PROMPT = "neon"


def draw(pipe: Any) -> np.ndarray[Any, Any]:
    """Return an image (32, 32, 3), 0 to 1."""
    images = pipe(
        PROMPT, width=32, height=32, num_inference_steps=2, max_sequence_length=TOKENS, output_type="np",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip
    return np.asarray(images[0])


def difference(first: Any, second: Any) -> float:
    """Return the largest difference of two images, in 1/255."""
    return float(np.abs(first - second).max() * 255)


def state(pipe: Any) -> list[tuple[str, type, int, Any]]:
    """Return name, class, number of hooks and parameters of each module of the transformer; those on meta are None."""
    return [
        (
            name,
            type(module),
            len(module._forward_hooks) + len(module._forward_pre_hooks),
            [
                None if tensor.is_meta else stored(tensor).clone()
                for tensor in module.parameters(recurse=False)
            ],
        )
        for name, module in pipe.transformer.named_modules()
    ]


def stored(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers that a parameter stores: of one that torchao has quantized, the integers."""
    return getattr(tensor, "qdata", tensor)


def assert_same_state(actual: Any, expected: Any) -> None:
    for (*labels, tensors), (*expected_labels, expected_tensors) in zip(actual, expected, strict=True):
        assert labels == expected_labels
        for tensor, other in zip(tensors, expected_tensors, strict=True):
            assert tensor is other is None or torch.equal(tensor, other)
