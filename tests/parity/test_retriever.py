"""The released preset's encoder equals the released retriever: tokens and embedding, in float32 and bfloat16."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

from autolora.encoder.model import Encoder, EncoderConfig
from autolora.encoder.released_format import assemble, layout, load_published, save_published
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.factors import Factors, Lora
from autolora.lora.read import read
from autolora.presets import ENCODER
from tests.lora.writing import BOUNDS
from tests.parity import cases, rnd

RELEASED = ENCODER["released"]
HEADS = 12
"""of the released code, whatever the width"""
CPU = torch.device("cpu")
FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
FILES = cases("retriever_*.safetensors")


@cache
def given(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def loras(path: Path) -> list[str]:
    return [name.removesuffix(".embedding") for name in given(path) if name.endswith(".embedding")]


def encoder_of(path: Path) -> Encoder:
    return assemble(under("w.", given(path)), RELEASED, HEADS, "")


def lora_of(path: Path, name: str, config: EncoderConfig, folder: Path) -> Lora:
    """Write one of the file's LoRAs as a file of its own and read that."""
    tensors = under(f"{name}.", given(path))
    save_file({key: one for key, one in tensors.items() if ".lora_" in key}, folder / "lora.safetensors")
    return read(folder / "lora.safetensors", config.canonical, BOUNDS).lora


CASES = [pytest.param(path, name, id=f"{path.stem}-{name}") for path in FILES for name in loras(path)]


@pytest.mark.parametrize(("path", "name"), CASES)
def test_tokens_and_embedding(path: Path, name: str, tmp_path: Path) -> None:
    encoder = encoder_of(path)
    batch = encoder.config.read_lora(lora_of(path, name, encoder.config, tmp_path))
    tokens, embedding = given(path)[f"{name}.tokens"], given(path)[f"{name}.embedding"]
    torch.testing.assert_close(encoder.tokens(batch.values, batch.present), tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(batch.values, batch.present), embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_embedding_in_bfloat16(path: Path, name: str, tmp_path: Path) -> None:
    encoder = encoder_of(path)
    lora = lora_of(path, name, encoder.config, tmp_path)
    encoder = encoder.to(torch.bfloat16)
    batch = encoder.config.read_lora(lora).to(CPU, torch.bfloat16)
    found = encoder(batch.values, batch.present).float()
    assert cosine_similarity(found, given(path)[f"{name}.embedding_bf16"]).min() >= 0.9999
    assert cosine_similarity(found, given(path)[f"{name}.embedding"]).min() >= 0.9999


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_layout_loads_and_saves(path: Path, tmp_path: Path) -> None:
    tensors = under("w.", given(path))
    save_file(tensors, tmp_path / "published.safetensors")
    encoder = load_published(tmp_path / "published.safetensors", RELEASED, HEADS, "t")
    save_published(encoder, tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_layout_at_the_size_of_flux_1_dev_is_recognized_by_its_hash() -> None:
    config = EncoderConfig(
        transformer=FLUX, form=RELEASED, probe="full", sketch=None, width=768, layers=2, heads=12,
        hidden=3072, dropout=0.0, spec=None, text_encoder="",
    )  # fmt: skip
    with torch.device("meta"):
        encoder = Encoder(config)
    assert sum(one.numel() for one in encoder.parameters()) == 112_902_912
    shapes = {name: "_".join(map(str, one.shape)) for name, one in layout(encoder).items()}
    parts = sorted([*shapes, *(f"{name}:{shape}" for name, shape in shapes.items())])
    assert len(shapes) == 365
    assert hashlib.md5(",".join(parts).encode()).hexdigest() == "1b19c70d152bd637a4560b7d197809ed"


def mini(probes: int) -> dict[str, Tensor]:
    """Return the published tensors of the mini retriever: h = 16, d = 32, MLP 64, 2 blocks."""
    config = EncoderConfig(
        transformer=FLUX | {"num_attention_heads": 1, "attention_head_dim": 16},
        form=replace(RELEASED, probes=probes), probe="full", sketch=None, width=32, layers=2, heads=4,
        hidden=64, dropout=0.0, spec=None, text_encoder="",
    )  # fmt: skip
    return {name: drawn_weight(name, tuple(one.shape)) for name, one in layout(Encoder(config)).items()}


def drawn_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith(".x"):
        return rnd(name, shape)
    if name == "position_embeds":
        return rnd(name, shape, 0.02)
    if name.endswith("bias"):
        return rnd(name, shape, 0.1)
    if len(shape) == 1:
        return rnd(name, shape, 0.1, 1.0)
    return rnd(name, shape, shape[1] ** -0.5)


def drawn_lora(config: EncoderConfig, ranks: tuple[int, ...]) -> Lora:
    """Return the LoRA of the second derivation, its ranks cycling over the fused slots."""
    lora = {}
    for place, slot in enumerate(config.fused):
        rank = ranks[place % len(ranks)]
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
    encoder = assemble(mini(1), replace(RELEASED, causal=causal), 4, "").double()
    batch = encoder.config.read_lora(drawn_lora(encoder.config, ranks)).to(CPU, torch.float64)
    found = encoder(batch.values, batch.present)[0]
    assert found[:6].tolist() == pytest.approx(first, abs=2e-5)
    assert found.norm().item() == pytest.approx(norm, abs=2e-5)


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
    encoder = assemble(mini(1), RELEASED, 4, "").double()
    batch = encoder.config.read_lora(drawn_lora(encoder.config, ranks)).to(CPU, torch.float64)
    tokens = encoder.tokens(batch.values, batch.present)[0]
    assert tokens.shape == (304, 32)
    assert tokens[0, :3].tolist() == pytest.approx(first, abs=2e-5)
    assert tokens[303, :3].tolist() == pytest.approx(last, abs=2e-5)
    assert tokens.norm().item() == pytest.approx(norm, abs=2e-5)


def test_several_probes_make_several_tokens_a_slot() -> None:
    tensors = mini(3)
    encoder = assemble(tensors, RELEASED, 4, "").double()
    batch = encoder.config.read_lora(drawn_lora(encoder.config, EQUAL)).to(CPU, torch.float64)
    tokens = encoder.tokens(batch.values, batch.present)[0]
    slot, kind = encoder.config.fused[17], "ff_b___0"
    assert slot.name == "blocks.1.ff_b.0"
    probes = tensors["embedder.model_dict.blocks___1___ff_b___0.x"][0].double()
    update = rnd(f"{slot.name}/B", (slot.d_out, 3), 0.02) @ rnd(
        f"{slot.name}/A", (3, slot.d_in), slot.d_in**-0.5
    )
    weight, bias = (tensors[f"embedder.proj_dict.{kind}.{part}"].double() for part in ("weight", "bias"))
    expected = probes @ update.T @ weight.T + bias
    torch.testing.assert_close(tokens[17 * 3 : 18 * 3], expected, atol=1e-6, rtol=1e-6)
    assert encoder(batch.values, batch.present).shape == (1, 32)


def test_a_slot_that_is_absent() -> None:
    whole = drawn_lora(assemble(mini(1), RELEASED, 4, "").config, EQUAL)
    part = {name: one for name, one in whole.items() if "norm" not in name}
    found = {}
    for absent in ("zero", "mask", "refuse"):
        encoder = assemble(mini(1), replace(RELEASED, absent=absent), 4, "").double()
        batch = encoder.config.read_lora(part).to(CPU, torch.float64)
        if absent == "refuse":
            with pytest.raises(MismatchError, match="lacks 76 of 304"):
                encoder(batch.values, batch.present)
        else:
            found[absent] = encoder(batch.values, batch.present)
    zero = {
        name: one if name in part else Factors(one.down, torch.zeros_like(one.up), 1.0)
        for name, one in whole.items()
    }
    encoder = assemble(mini(1), RELEASED, 4, "").double()
    batch = encoder.config.read_lora(zero).to(CPU, torch.float64)
    torch.testing.assert_close(found["zero"], encoder(batch.values, batch.present))
    assert bool(found["mask"].isfinite().all()) and not torch.allclose(found["mask"], found["zero"])


def test_one_alpha_for_a_file_is_its_first() -> None:
    config = assemble(mini(1), RELEASED, 4, "").config
    lora = {
        name: replace(one, scale=0.5 + i) for i, (name, one) in enumerate(drawn_lora(config, (2,)).items())
    }
    same = {name: replace(one, scale=0.5) for name, one in lora.items()}
    for ours, theirs in zip(config.read_lora(lora).values, config.read_lora(same).values, strict=True):
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("encoders.1.fc2.bias"),
        lambda tensors: tensors.pop("embedder.model_dict.blocks___7___ff_a___2.x"),
        lambda tensors: tensors.update({"special_embeds": torch.zeros(1)}),
        lambda tensors: tensors.update({"position_embeds": torch.zeros(1, 303, 32)}),
        lambda tensors: tensors.clear(),
    ],
)
def test_other_tensors_are_named(change, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors = mini(1)
    change(tensors)
    with pytest.raises(MismatchError, match="no published encoder"):
        assemble(tensors, RELEASED, 4, "")
    with pytest.raises(MissingArtifact, match="download"):
        load_published(tmp_path / "nothing.safetensors", RELEASED, 4, "")


def test_other_forms_have_no_published_layout() -> None:
    encoder = assemble(mini(1), RELEASED, 4, "")
    other = Encoder(replace(encoder.config, form=replace(RELEASED, projections="slot")))
    with pytest.raises(MismatchError, match="preset 'released'"):
        layout(other)
