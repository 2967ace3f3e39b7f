"""LoHa and LoKr are read as exact low-rank updates, equal to those that LyCORIS computes from the same tensors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lycoris import modules
from torch import Tensor, nn

from autolora.errors import RefusedFile
from autolora.lora.decompositions import build_factors, compute_size
from autolora.lora.factors import Factors, Kronecker, Lora, delta
from autolora.lora.read import Reading, read, read_and_sketch
from autolora.lora.scales import METADATA_KEY
from autolora.lora.sketch import SketchSpec, signs
from autolora.lora.slots import slots
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, WIDE, Tensors, write

TOLERANCE = 1e-5
WIDE_SLOTS = slots(WIDE)
ROWS = 64
Sizes = Mapping[str, tuple[int, int]]

# prefix and module, its slots
QKV = ("lora_unet_double_blocks_0_img_attn_qkv", [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"])
LINEAR1 = (
    "lora_unet_single_blocks_0_linear1",
    [f"single_transformer_blocks.0.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
)
TO_K = ("lycoris_transformer_blocks_0_attn_to_k", ["transformer_blocks.0.attn.to_k"])
PROJ = ("transformer.single_transformer_blocks.0.proj_out", ["single_transformer_blocks.0.proj_out"])
MODEL = ("base_model.model.transformer_blocks.0.ff.net.2", ["transformer_blocks.0.ff.net.2"])


def loha(d_out: int, d_in: int, rank: int) -> Sizes:
    return {
        f"hada_w{i}_{half}": (d_out, rank) if half == "a" else (rank, d_in) for i in (1, 2) for half in "ab"
    }


def lokr(first: tuple[int, int], second: tuple[int, int], ranks: tuple[int | None, int | None]) -> Sizes:
    """Return the sizes of a LoKr's tensors.

    first, second: (d_out, d_in) of each half; ranks: of each half, None if it is stored in full.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for name, (d_out, d_in), rank in (("w1", first, ranks[0]), ("w2", second, ranks[1])):
        if rank is None:
            sizes[f"lokr_{name}"] = (d_out, d_in)
        else:
            sizes |= {f"lokr_{name}_a": (d_out, rank), f"lokr_{name}_b": (rank, d_in)}
    return sizes


CASES: dict[str, tuple[tuple[str, list[str]], Sizes, str]] = {
    "LoHa, kohya": (QKV, loha(9216, 3072, 3), "kohya-loha"),
    "LoHa, lycoris": (TO_K, loha(3072, 3072, 4), "lycoris-loha"),
    "LoHa, PEFT": (MODEL, loha(3072, 12288, 2), "peft-model-loha"),
    "LoKr, kohya": (QKV, lokr((4, 4), (2304, 768), (None, 4)), "kohya-lokr"),
    "LoKr, linear1": (LINEAR1, lokr((4, 4), (5376, 768), (None, 2)), "kohya-lokr"),
    "LoKr, lycoris": (TO_K, lokr((48, 48), (64, 64), (None, 2)), "lycoris-lokr"),
    "LoKr, both factored": (TO_K, lokr((48, 48), (64, 64), (3, 3)), "lycoris-lokr"),
    "LoKr, diffusers": (PROJ, lokr((16, 16), (192, 960), (None, 4)), "peft-lokr"),
    "LoKr, PEFT": (MODEL, lokr((8, 8), (384, 1536), (None, 4)), "peft-model-lokr"),
}


def draw(path: str, sizes: Sizes, dtype: torch.dtype = torch.float32) -> Tensors:
    generator = torch.Generator().manual_seed(3)
    return {
        f"{path}.{name}": torch.randn(size, generator=generator).to(dtype) for name, size in sizes.items()
    }


def lycoris_delta(tensors: Tensors, path: str) -> Tensor:
    """Return the update (float32) that LyCORIS adds to a layer's weight in its forward pass."""
    state = {key.replace(path, "module"): tensor.float() for key, tensor in tensors.items()}
    kind, params = modules.get_module(state, "module")
    d_out, d_in = size_of(state)
    layer = nn.Linear(d_in, d_out, bias=False, device="meta")
    weight: Tensor = modules.make_module(kind, params, "module", layer).get_weight((d_out, d_in))
    return weight.detach()


def size_of(state: Tensors) -> tuple[int, int]:
    """Return (d_out, d_in) of an update."""
    shapes = {key.rpartition("_w")[2]: tensor.shape for key, tensor in state.items() if "_w" in key}
    if "module.hada_w1_a" in state:
        return shapes["1_a"][0], shapes["1_b"][1]
    halves = [
        shapes[half] if half in shapes else (shapes[f"{half}_a"][0], shapes[f"{half}_b"][1]) for half in "12"
    ]
    return halves[0][0] * halves[1][0], halves[0][1] * halves[1][1]


def read_wide(folder: Path, tensors: Tensors, max_rank: int = 256) -> Reading:
    return read(write(folder / "l.safetensors", tensors), WIDE_SLOTS, replace(BOUNDS, max_rank=max_rank))


def assert_rows(lora: Lora, names: list[str], expected: Tensor) -> None:
    """Compare 64 rows of every part with the rows of the fused update."""
    assert set(lora) == set(names)
    row = 0
    for name in names:
        factors = lora[name]
        rows = torch.randperm(len(factors.up), generator=torch.Generator().manual_seed(row))[:ROWS]
        expected_rows = expected[row + rows].double()
        error = delta(Factors(factors.down, factors.up[rows], factors.scale)) - expected_rows
        assert error.abs().max() <= TOLERANCE * expected_rows.abs().max(), name
        row += len(factors.up)


@pytest.mark.parametrize("case", CASES)
def test_update_matches_lycoris(tmp_path: Path, case: str) -> None:
    (path, names), sizes, layout = CASES[case]
    tensors = draw(path, sizes) | {f"{path}.alpha": torch.tensor(1.5)}
    reading = read_wide(tmp_path, tensors)
    assert reading.layout == layout
    assert reading.keys_used == reading.keys_seen == len(tensors)
    assert_rows(reading.lora, names, lycoris_delta(tensors, path))


@pytest.mark.parametrize("case", ["LoHa, PEFT", "LoKr, diffusers", "LoKr, PEFT"])
def test_the_scale_of_peft_without_its_config_is_assumed(tmp_path: Path, case: str) -> None:
    """LyCORIS writes an alpha per module; PEFT stores it in the config only."""
    (path, _), sizes, _ = CASES[case]
    tensors = draw(path, sizes)
    assert "scale-assumed" in read_wide(tmp_path, tensors).warnings
    config = {METADATA_KEY: '{"peft_type": "LORA", "alpha": 2, "r": 4}'}
    path_with_header = write(tmp_path / "header.safetensors", tensors, config)
    reading = read(path_with_header, WIDE_SLOTS, replace(BOUNDS, max_rank=256))
    assert "scale-assumed" not in reading.warnings
    assert {factors.scale for factors in reading.lora.values()} == {2 / 4 if "LoKr" in case else 2 / 2}


@pytest.mark.parametrize("rank", [1, 4])
def test_rs_lora_of_lycoris_needs_no_special_case(tmp_path: Path, rank: int) -> None:
    """LyCORIS stores alpha · √rank, so the stored alpha divided by the rank is the scale."""
    path, names = TO_K
    layer = nn.Linear(3072, 3072, bias=False, device="meta")
    module = modules.LoConModule("module", layer, 1, rank, 2.0, rs_lora=True)
    nn.init.normal_(module.lora_up.weight)
    tensors = {f"{path}.{key}": tensor.detach() for key, tensor in module.custom_state_dict().items()}
    reading = read_wide(tmp_path, tensors)
    assert reading.lora[names[0]].scale == pytest.approx(2 / rank**0.5)
    assert_rows(reading.lora, names, (module.scale * module.make_weight()).detach())


def test_alpha_of_two_full_matrices_is_ignored(tmp_path: Path) -> None:
    path, names = TO_K
    tensors = draw(path, lokr((4, 4), (4, 4), (None, None))) | {f"{path}.alpha": torch.tensor(7.0)}
    lora = read(write(tmp_path / "l.safetensors", tensors), SLOTS, BOUNDS).lora
    expected = torch.kron(tensors[f"{path}.lokr_w1"], tensors[f"{path}.lokr_w2"])
    torch.testing.assert_close(delta(lora[names[0]]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(lycoris_delta(tensors, path), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize(
    "sizes",
    [
        loha(16, 16, 3),
        lokr((2, 4), (8, 4), (None, 2)),  # wide, as with LyCORIS' unbalanced factorization
        lokr((4, 2), (4, 8), (None, 2)),
        lokr((4, 2), (4, 8), (3, 2)),  # a rank above the shorter side
        lokr((2, 8), (8, 2), (1, None)),
    ],
)
def test_short_dtypes_are_multiplied_in_float32(dtype: torch.dtype, sizes: Sizes) -> None:
    tensors = {key.split("_", 1)[1]: tensor for key, tensor in draw("m", sizes, dtype).items()}
    kind = "loha" if "hada" in next(iter(sizes)) else "lokr"
    down, up = build_factors(kind, tensors)
    halves = [tensors[h].float() if h in tensors else tensors[f"{h}_a"].float() @ tensors[f"{h}_b"].float()
              for h in ("w1", "w2")]  # fmt: skip
    expected = halves[0] * halves[1] if kind == "loha" else torch.kron(*halves)
    torch.testing.assert_close(up @ down, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
    size = compute_size(kind, "m", {role: tuple(tensor.shape) for role, tensor in tensors.items()})
    assert (size.d_in, size.d_out, size.rank) == (down.shape[1], up.shape[0], down.shape[0])


@pytest.mark.parametrize(
    ("sizes", "code", "message"),
    [
        (lokr((16, 16), (192, 192), (None, None)), "lokr", "rank 3072, expected 1 to 256"),
        (lokr((48, 48), (64, 64), (None, 8)), "lokr", "rank 384"),
        (loha(3072, 3072, 17), "loha", "rank 289"),
        (lokr((4, 4), (768, 767), (None, 2)), "wrong-base", "3068 to 3072"),
        (loha(3072, 3072, 2) | {"hada_w2_a": (3072, 3)}, "shape-mismatch", "cannot be multiplied"),
        (loha(3072, 3072, 2) | {"hada_w2_b": (2, 3071)}, "shape-mismatch", "cannot be multiplied"),
        (
            lokr((4, 4), (768, 768), (None, 2)) | {"lokr_w2_b": (3, 768)},
            "shape-mismatch",
            "cannot be multiplied",
        ),
        ({"lokr_w1": (4, 4)}, "orphan", "w1/w2_a/w2_b"),
        (lokr((4, 4), (768, 768), (None, 2)) | {"lokr_w2": (768, 768)}, "orphan", "expected w1/w2"),
        ({"hada_w1_a": (3072, 2), "hada_w1_b": (2, 3072)}, "orphan", "w2_a/w2_b"),
    ],
)
def test_unsupported_sizes_are_refused(tmp_path: Path, sizes: Sizes, code: str, message: str) -> None:
    with pytest.raises(RefusedFile, match=message) as caught:
        read_wide(tmp_path, draw(TO_K[0], sizes))
    assert caught.value.code == code


SPEC = SketchSpec(32)
FULL: dict[str, tuple[tuple[str, list[str]], Sizes]] = {
    "square": (TO_K, lokr((48, 48), (64, 64), (None, None))),
    "fused": (QKV, lokr((16, 16), (576, 192), (None, None))),
    "fused, four parts": (LINEAR1, lokr((16, 16), (1344, 192), (None, None))),
    "a product": (TO_K, lokr((48, 48), (64, 64), (None, 16))),
}


@pytest.mark.parametrize("case", FULL)
def test_full_lokr_is_sketched_as_lycoris_computes_it(tmp_path: Path, case: str) -> None:
    """ai-toolkit states alpha 9999999999, which is not used; a product has the scale alpha / rank."""
    (path, names), sizes = FULL[case]
    alpha = torch.tensor(8.0 if case == "a product" else 9999999999.0)
    tensors = draw(path, sizes) | {f"{path}.alpha": alpha}
    file = write(tmp_path / "l.safetensors", tensors)
    reading, sketched = read_and_sketch(file, WIDE_SLOTS, replace(BOUNDS, max_rank=256), SPEC)
    expected, row = lycoris_delta(tensors, path).double(), 0
    assert (reading.lora, set(reading.updates), reading.warnings) == ({}, set(names), ("full-rank",))
    for name in names:
        slot = next(slot for slot in WIDE_SLOTS if slot.name == name)
        update = expected[row : row + slot.d_out]
        row += slot.d_out
        columns = reading.full[name].apply(torch.eye(slot.d_in)[:, ::97].contiguous()).double()
        assert (columns - update[:, ::97]).abs().max() <= TOLERANCE * update.abs().max(), name
        left, right = (
            signs(f"S|{name}", slot.d_out, 32).double(),
            signs(f"Q|{slot.fused}", slot.d_in, 32).double(),
        )
        exact = left.T @ update @ right / 32
        position = WIDE_SLOTS.index(slot)
        assert (sketched.values[position] - exact).abs().max() <= TOLERANCE * exact.abs().max(), name
    with pytest.raises(RefusedFile, match="expected 1 to 256") as caught:
        read(file, WIDE_SLOTS, replace(BOUNDS, max_rank=256))
    assert caught.value.code == "lokr"


def test_rows_of_a_full_lokr_need_not_begin_with_a_block() -> None:
    w1, w2 = torch.randn(7, 2), torch.randn(6, 8)
    expected = 0.5 * torch.kron(w1, w2)
    for row, d_out in ((0, 42), (4, 11), (11, 1), (18, 24), (6, 6)):
        part = Kronecker(w1, w2, 0.5, row, d_out)
        torch.testing.assert_close(part.apply(torch.eye(16)), expected[row : row + d_out])
    w2[3] = 0
    assert Kronecker(w1, w2, 0.5, 9, 1).is_zero and not Kronecker(w1, w2, 0.5, 8, 2).is_zero


def test_untrained_full_lokr_has_zero_effect(tmp_path: Path) -> None:
    tensors = draw(TO_K[0], lokr((48, 48), (64, 64), (None, None))) | {
        f"{TO_K[0]}.lokr_w2": torch.zeros(64, 64)
    }
    with pytest.raises(RefusedFile) as caught:
        read_and_sketch(write(tmp_path / "l.safetensors", tensors), WIDE_SLOTS, BOUNDS, SPEC)
    assert caught.value.code == "zero-effect"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2e9])
def test_values_of_a_full_lokr_are_checked(tmp_path: Path, value: float) -> None:
    tensors = draw(TO_K[0], lokr((48, 48), (64, 64), (None, None)))
    tensors[f"{TO_K[0]}.lokr_w1"][3, 4] = value
    with pytest.raises(RefusedFile) as caught:
        read_and_sketch(write(tmp_path / "l.safetensors", tensors), WIDE_SLOTS, BOUNDS, SPEC)
    assert caught.value.code == "nan-or-inf"


@pytest.mark.parametrize("sizes", [loha(16, 16, 2), lokr((4, 4), (4, 4), (None, None))])
def test_both_readers_refuse_products_above_the_limit(tmp_path: Path, sizes: Sizes) -> None:
    path = TO_K[0]
    tensors = {key: torch.full_like(tensor, 1e6) for key, tensor in draw(path, sizes).items()}
    file = write(tmp_path / "l.safetensors", tensors)
    for reader in (lambda: read(file, SLOTS, BOUNDS), lambda: read_and_sketch(file, SLOTS, BOUNDS, SPEC)):
        with pytest.raises(RefusedFile) as caught:
            reader()
        assert caught.value.code == "nan-or-inf"


def test_factors_above_the_memory_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolora.lora.decompositions.MAX_FACTOR_BYTES", 1000)
    with pytest.raises(RefusedFile, match=r"need .* GB of memory") as caught:
        read(write(tmp_path / "l.safetensors", draw(TO_K[0], loha(16, 16, 3))), SLOTS, BOUNDS)
    assert caught.value.code == "loha"


def test_untrained_loha_has_zero_effect(tmp_path: Path) -> None:
    tensors = draw(TO_K[0], loha(16, 16, 2)) | {f"{TO_K[0]}.hada_w2_a": torch.zeros(16, 2)}
    with pytest.raises(RefusedFile) as caught:
        read(write(tmp_path / "l.safetensors", tensors), slots(CONFIG), BOUNDS)
    assert caught.value.code == "zero-effect"
