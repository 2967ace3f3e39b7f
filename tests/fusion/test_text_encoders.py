"""Adapters on the text encoders of a pipeline."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion.text_encoders import attach_text_parts, load_text_parts
from autolora.lora.factors import delta
from autolora.params import load
from tests.support.text_lora import diffusers, kohya, random_parts, save
from tests.support.tiny_flux import TOKENS, build_pipeline, random_lora, save_peft

BOUNDS = load(Path(__file__).parents[2] / "params.yaml").pool


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline()


@pytest.fixture(autouse=True)
def _is_restored(pipe: Any) -> Iterator[None]:
    before = encode(pipe)
    yield
    assert all(torch.equal(*pair) for pair in zip(encode(pipe), before, strict=True))
    for encoder in (pipe.text_encoder, pipe.text_encoder_2, pipe.transformer):
        assert not any(module._forward_hooks for module in encoder.modules())


def encode(pipe: Any) -> tuple[Tensor, Tensor]:
    """Return the states of T5 and the features of CLIP for one prompt."""
    states, features, _ = pipe.encode_prompt(prompt="neon", prompt_2=None, max_sequence_length=TOKENS)
    return states, features


def assert_close(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    for pair in zip(first, second, strict=True):
        torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-4)


def test_updates_are_summed(pipe: Any) -> None:
    parts = [random_parts(1), {"text_encoder": random_parts(2)["text_encoder"]}]
    base = encode(pipe)
    with attach_text_parts(pipe, [(part, 1.0) for part in parts]):
        output = encode(pipe)
    weights = {
        (encoder, name): getattr(pipe, encoder).get_submodule(name).weight
        for encoder, lora in parts[0].items()
        for name in lora
    }
    unchanged = {key: weight.clone() for key, weight in weights.items()}
    for part in parts:
        for encoder, lora in part.items():
            for name, factors in lora.items():
                weights[encoder, name].add_(delta(factors))
    expected = encode(pipe)
    for key, weight in weights.items():
        weight.copy_(unchanged[key])
    assert_close(output, expected)
    assert all((x - y).abs().max() > 0.01 for x, y in zip(output, base, strict=True))


def test_a_file_acts_as_in_diffusers(pipe: Any, tmp_path: Path) -> None:
    clip = {"text_encoder": random_parts(1)["text_encoder"]}
    path = save(tmp_path / "x.safetensors", *diffusers(clip))
    with attach_text_parts(pipe, [(load_text_parts(path, pipe, BOUNDS), 1.0)]):
        output = encode(pipe)
    other = build_pipeline()
    other.text_encoder.load_state_dict(pipe.text_encoder.state_dict())
    other.text_encoder_2.load_state_dict(pipe.text_encoder_2.state_dict())
    other.load_lora_weights(str(path))
    assert_close(output, encode(other))


def test_they_are_summed_with_the_strengths(pipe: Any) -> None:
    weighted = [
        (
            {
                encoder: {name: replace(update, scale=update.scale * factor) for name, update in lora.items()}
                for encoder, lora in random_parts(seed).items()
            },
            1.0,
        )
        for seed, factor in {1: 0.5, 2: -1.0}.items()
    ]
    with attach_text_parts(pipe, weighted):
        expected = encode(pipe)
    with attach_text_parts(pipe, [(random_parts(1), 0.5), (random_parts(2), -1.0)]):
        assert_close(encode(pipe), expected)


def test_a_file_without_such_a_part_changes_nothing(pipe: Any, tmp_path: Path) -> None:
    path = save_peft(random_lora(1), tmp_path / "x.safetensors")
    assert load_text_parts(path, pipe, BOUNDS) == {}
    with attach_text_parts(pipe, [({}, 1.0)]):
        assert not any(module._forward_hooks for module in pipe.text_encoder.modules())


def test_what_cannot_be_used_is_an_error_that_says_what_to_do(pipe: Any, tmp_path: Path) -> None:
    tensors, _ = kohya(random_parts(1))
    tensors.popitem()
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    del tensors[key]
    path = save(tmp_path / "x.safetensors", tensors)
    with pytest.raises(
        MismatchError, match=r"x\.safetensors for the text encoders .* generation\.text_encoders"
    ):
        load_text_parts(path, pipe, BOUNDS)
    clip = random_parts(1)["text_encoder"]
    narrow = {name: replace(factors, down=factors.down[:, :-1]) for name, factors in clip.items()}
    with pytest.raises(MismatchError, match="another base model"):
        attach_text_parts(pipe, [({"text_encoder": narrow}, 1.0)])
