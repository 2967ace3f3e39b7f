"""The encoder of the preset `released` equals the released retriever, in float32 and bfloat16; its file layout."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

from autolora.encoder.config import EncoderConfig
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.factors import Factors, Lora
from autolora.lora.read import read
from autolora.presets.encoder import EncoderVariant
from studies.released.encoder import assemble, layout, load_released
from studies.released.presets import ENCODER as RELEASED
from tests.lora.writing import BOUNDS
from tests.parity import cases, rnd

MINI = replace(RELEASED, heads=4, mlp_ratio=2)
"""of the second derivation"""
CPU = torch.device("cpu")
FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
FILES = cases("retriever_*.safetensors")


@cache
def read_reference(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def lora_names(path: Path) -> list[str]:
    return [name.removesuffix(".embedding") for name in read_reference(path) if name.endswith(".embedding")]


def encoder_of(path: Path) -> TransformerEncoder:
    return assemble(with_prefix("w.", read_reference(path)), RELEASED, "")


def lora_of(path: Path, name: str, config: EncoderConfig, folder: Path) -> Lora:
    """Return one of the file's LoRAs, read from a LoRA file that is written into the folder."""
    tensors = with_prefix(f"{name}.", read_reference(path))
    save_file(
        {key: tensor for key, tensor in tensors.items() if ".lora_" in key}, folder / "lora.safetensors"
    )
    return read(folder / "lora.safetensors", config.canonical, BOUNDS).lora


CASES = [pytest.param(path, name, id=f"{path.stem}-{name}") for path in FILES for name in lora_names(path)]


@pytest.mark.parametrize(("path", "name"), CASES)
def test_tokens_and_embedding_equal_the_released_retriever(path: Path, name: str, tmp_path: Path) -> None:
    encoder = encoder_of(path)
    batch = encoder.config.lora_to_batch(lora_of(path, name, encoder.config, tmp_path))
    tokens, embedding = read_reference(path)[f"{name}.tokens"], read_reference(path)[f"{name}.embedding"]
    torch.testing.assert_close(encoder.tokens(batch.values), tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(batch.values, batch.present), embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_embedding_in_bfloat16_equals_the_released_retriever(path: Path, name: str, tmp_path: Path) -> None:
    encoder = encoder_of(path)
    lora = lora_of(path, name, encoder.config, tmp_path)
    encoder = encoder.to(torch.bfloat16)
    batch = encoder.config.lora_to_batch(lora).to(CPU, torch.bfloat16)
    embedding = encoder(batch.values, batch.present).float()
    assert cosine_similarity(embedding, read_reference(path)[f"{name}.embedding_bf16"]).min() >= 0.9999
    assert cosine_similarity(embedding, read_reference(path)[f"{name}.embedding"]).min() >= 0.9999


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_file_loads_as_it_is(path: Path, tmp_path: Path) -> None:
    tensors = with_prefix("w.", read_reference(path))
    save_file(tensors, tmp_path / "published.safetensors")
    encoder = load_released(tmp_path / "published.safetensors", RELEASED, "t")
    saved = layout(encoder)
    assert saved.keys() == tensors.keys()
    assert all(torch.equal(saved[name], tensors[name]) for name in tensors)


def config_of(transformer: dict[str, int], variant: EncoderVariant, width: int) -> EncoderConfig:
    return EncoderConfig(
        transformer=transformer, variant=variant, width=width, sketch_size=None, sketch_key=None,
        text_encoder="",
    )  # fmt: skip


def test_layout_at_flux_1_dev_has_the_published_hash() -> None:
    with torch.device("meta"):
        encoder = TransformerEncoder(config_of(FLUX, RELEASED, width=768))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 112_902_912
    shapes = {name: "_".join(map(str, tensor.shape)) for name, tensor in layout(encoder).items()}
    parts = sorted([*shapes, *(f"{name}:{shape}" for name, shape in shapes.items())])
    assert len(shapes) == 365
    assert hashlib.md5(",".join(parts).encode()).hexdigest() == "1b19c70d152bd637a4560b7d197809ed"


def mini(probes: int) -> dict[str, Tensor]:
    """Return the published tensors of the mini retriever: h = 16, d = 32, MLP 64, 2 blocks."""
    transformer = FLUX | {"num_attention_heads": 1, "attention_head_dim": 16}
    encoder = TransformerEncoder(config_of(transformer, replace(MINI, probes=probes), width=32))
    return {name: mini_weight(name, tuple(tensor.shape)) for name, tensor in layout(encoder).items()}


def mini_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith(".x"):
        return rnd(name, shape)
    if name == "position_embeds":
        return rnd(name, shape, 0.02)
    if name.endswith("bias"):
        return rnd(name, shape, 0.1)
    if len(shape) == 1:
        return rnd(name, shape, 0.1, 1.0)
    return rnd(name, shape, shape[1] ** -0.5)


def mini_lora(config: EncoderConfig, ranks: tuple[int, ...]) -> Lora:
    """Return the LoRA of the second derivation, whose ranks cycle over the fused slots."""
    lora = {}
    for index, slot in enumerate(config.fused):
        rank = ranks[index % len(ranks)]
        down = rnd(f"{slot.name}/A", (rank, slot.d_in), slot.d_in**-0.5)
        up = rnd(f"{slot.name}/B", (slot.d_out, rank), 0.02)
        for part in slot.parts:
            lora[part.name] = Factors(down, up[part.row : part.row + part.d_out], 1.0)
    return lora


EQUAL, CYCLING = (3,), (1, 2, 4)


@pytest.mark.parametrize(
    ("ranks", "causal", "first", "norm"),
    [
        (EQUAL, True, [0.19410, -0.28143, 1.67853, 0.36133, 1.83106, 0.25661], 5.45265),
        (EQUAL, False, [0.75916, 0.03373, 1.67373, 0.18543, 0.98438, 0.61652], 5.49345),
        (CYCLING, True, [0.26546, -0.24303, 1.69557, 0.34536, 1.73803, 0.23001], 5.48098),
        (CYCLING, False, [0.75542, 0.12955, 1.68680, 0.32815, 1.04775, 0.59784], 5.52741),
    ],
)
def test_equals_a_second_derivation(
    ranks: tuple[int, ...], causal: bool, first: list[float], norm: float
) -> None:
    encoder = assemble(mini(1), replace(MINI, causal=causal), "").double()
    batch = encoder.config.lora_to_batch(mini_lora(encoder.config, ranks)).to(CPU, torch.float64)
    embedding = encoder(batch.values, batch.present)[0]
    assert embedding[:6].tolist() == pytest.approx(first, abs=2e-5)
    assert embedding.norm().item() == pytest.approx(norm, abs=2e-5)


@pytest.mark.parametrize(
    ("ranks", "first", "last", "norm"),
    [
        (EQUAL, [-0.00318, 0.10119, 0.08014], [0.08167, 0.04423, 0.05349], 10.05626),
        (CYCLING, [-0.02255, 0.12074, 0.10746], [0.07238, 0.04452, 0.01756], 9.99863),
    ],
)
def test_tokens_equal_a_second_derivation(
    ranks: tuple[int, ...], first: list[float], last: list[float], norm: float
) -> None:
    encoder = assemble(mini(1), MINI, "").double()
    batch = encoder.config.lora_to_batch(mini_lora(encoder.config, ranks)).to(CPU, torch.float64)
    tokens = encoder.tokens(batch.values)[0]
    assert tokens.shape == (304, 32)
    assert tokens[0, :3].tolist() == pytest.approx(first, abs=2e-5)
    assert tokens[303, :3].tolist() == pytest.approx(last, abs=2e-5)
    assert tokens.norm().item() == pytest.approx(norm, abs=2e-5)


def test_several_probes_give_several_tokens_per_slot() -> None:
    tensors = mini(3)
    encoder = assemble(tensors, MINI, "").double()
    batch = encoder.config.lora_to_batch(mini_lora(encoder.config, EQUAL)).to(CPU, torch.float64)
    tokens = encoder.tokens(batch.values)[0]
    slot, slot_type = encoder.config.fused[17], "ff_b___0"
    assert slot.name == "blocks.1.ff_b.0"
    probes = tensors["embedder.model_dict.blocks___1___ff_b___0.x"][0].double()
    update = rnd(f"{slot.name}/B", (slot.d_out, 3), 0.02) @ rnd(
        f"{slot.name}/A", (3, slot.d_in), slot.d_in**-0.5
    )
    weight, bias = (tensors[f"embedder.proj_dict.{slot_type}.{part}"].double() for part in ("weight", "bias"))
    expected = probes @ update.T @ weight.T + bias
    torch.testing.assert_close(tokens[17 * 3 : 18 * 3], expected, atol=1e-6, rtol=1e-6)
    assert encoder(batch.values, batch.present).shape == (1, 32)


@pytest.mark.slow
def test_missing_slots_are_encoded_as_zero_or_masked() -> None:
    config = assemble(mini(1), MINI, "").config
    complete = mini_lora(config, EQUAL)
    partial = {name: factors for name, factors in complete.items() if "norm" not in name}
    embeddings = {}
    for missing_slots in ("zero", "mask"):
        encoder = assemble(mini(1), replace(MINI, missing_slots=missing_slots), "").double()
        batch = encoder.config.lora_to_batch(partial).to(CPU, torch.float64)
        embeddings[missing_slots] = encoder(batch.values, batch.present)
    zeroed = {
        name: factors if name in partial else Factors(factors.down, torch.zeros_like(factors.up), 1.0)
        for name, factors in complete.items()
    }
    encoder = assemble(mini(1), MINI, "").double()
    batch = encoder.config.lora_to_batch(zeroed).to(CPU, torch.float64)
    torch.testing.assert_close(embeddings["zero"], encoder(batch.values, batch.present))
    assert bool(embeddings["mask"].isfinite().all())
    assert not torch.allclose(embeddings["mask"], embeddings["zero"])


def test_alpha_per_file_is_that_of_the_first_slot() -> None:
    config = assemble(mini(1), MINI, "").config
    lora = {
        name: replace(factors, scale=0.5 + i)
        for i, (name, factors) in enumerate(mini_lora(config, (2,)).items())
    }
    one_scale = {name: replace(factors, scale=0.5) for name, factors in lora.items()}
    pairs = zip(config.lora_to_batch(lora).values, config.lora_to_batch(one_scale).values, strict=True)
    for (_, up), (_, expected) in pairs:
        assert torch.equal(up, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("encoders.1.fc2.bias"),
        lambda tensors: tensors.pop("embedder.model_dict.blocks___7___ff_a___2.x"),
        lambda tensors: tensors.update({"special_embeds": torch.zeros(1)}),
        lambda tensors: tensors.update({"position_embeds": torch.zeros(1, 303, 32)}),
        lambda tensors: tensors.update({"encoders.0.fc1.weight": torch.zeros(64)}),
        lambda tensors: tensors.update({"encoders.0.fc1.weight": torch.zeros(60, 30)}),
        lambda tensors: tensors.update(
            {"embedder.model_dict.blocks___0___attn___a_to_qkv.x": torch.zeros(16)}
        ),
        lambda tensors: tensors.clear(),
    ],
)
def test_files_that_hold_no_published_encoder_are_errors(
    change: Callable[..., object], tmp_path: Path
) -> None:
    tensors = mini(1)
    change(tensors)
    save_file(tensors, tmp_path / "encoder.safetensors")
    with pytest.raises(MismatchError, match=r"encoder.safetensors: not a released encoder"):
        load_released(tmp_path / "encoder.safetensors", MINI, "")


def test_missing_and_damaged_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    for name in ("missing", "damaged"):
        with pytest.raises(MissingArtifact, match="download"):
            load_released(tmp_path / f"{name}.safetensors", MINI, "")
