"""Values that are not finite or too large are refused wherever they are, whether or not a sketch is made."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.factors import Lora, delta
from autolora.lora.read import read, read_and_sketch
from autolora.lora.sketch import SketchSpec, sketch
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, kohya, peft, write

Tensors = dict[str, Tensor]
TO_Q = "transformer.transformer_blocks.0.attn.to_q"
DOWN, UP, ALPHA = f"{TO_Q}.lora_A.weight", f"{TO_Q}.lora_B.weight", f"{TO_Q}.alpha"
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
LOKR = "lora_unet_single_blocks_0_linear2"
SHAPES: dict[str, dict[str, tuple[int, int]]] = {
    "lora": {"lora_down.weight": (3, 80), "lora_up.weight": (16, 3)},
    "loha": {"hada_w1_a": (16, 2), "hada_w1_b": (2, 80), "hada_w2_a": (16, 2), "hada_w2_b": (2, 80)},
    "lokr, full": {"lokr_w1": (2, 2), "lokr_w2": (8, 40)},
    "lokr, one product": {"lokr_w1": (2, 2), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 40)},
    "lokr, two products": {
        "lokr_w1_a": (4, 2),
        "lokr_w1_b": (2, 4),
        "lokr_w2_a": (4, 2),
        "lokr_w2_b": (2, 20),
    },
}
"""kind of update -> suffix and shape of its tensors, for the module LOKR"""
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float8_e4m3fn)
INF, NAN = float("inf"), float("nan")
SPEC = SketchSpec(BOUNDS.sketch_size)
READERS: dict[str, Callable[[Path], Lora]] = {
    "read": lambda path: read(path, SLOTS, BOUNDS).lora,
    "read and sketch": lambda path: read_and_sketch(path, SLOTS, BOUNDS, SPEC)[0].lora,
}


def _with(key: str, row: int, column: int, value: float, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return a valid file's tensors with one changed value, at most the last row and column."""
    tensors = {key: tensor.to(dtype) for key, tensor in peft(draw_lora(ranks=(3,))).items()}
    tensors[key][row, column] = value
    return tensors


def _overflowing_product() -> Tensors:
    """Return tensors in float64 of which one product of two values is not finite."""
    tensors = _with(DOWN, 0, 0, 1e300, torch.float64)
    tensors[UP][0, 0] = -1e300
    return tensors


def _in_a_rank_without_effect(value: float, at: str) -> Tensors:
    """Return tensors with a value in one factor of a rank whose other factor is zero."""
    tensors = _with(DOWN, 1, 5, value) if at == "down" else _with(UP, 5, 1, value)
    if at == "down":
        tensors[UP][:, 1] = 0
    else:
        tensors[DOWN][1] = 0
    return tensors


def _in_a_zero_update(value: float, by: str) -> Tensors:
    """Return tensors with a value in a slot whose other factor or alpha is zero."""
    tensors = _with(DOWN, 1, 5, value)
    zero = UP if by == "up" else ALPHA
    return tensors | {zero: torch.zeros_like(tensors[zero])}


def _in_canceling_ranks(value: float) -> Tensors:
    tensors = _with(DOWN, 0, 5, value)
    down, up = tensors[DOWN][:1], tensors[UP][:, :1]
    return tensors | {DOWN: torch.cat((down, down)), UP: torch.cat((up, -up), 1)}


def _in_a_fused_module(value: float) -> Tensors:
    """Return kohya's tensors whose q, k and v share `down`, with a value in a rank that only q has."""
    tensors = kohya(draw_lora(ranks=(3,)))
    down, up = torch.randn(3, 16), torch.randn(48, 3)
    down[2, 7] = value
    up[:, 2] = 0
    return tensors | {
        f"{QKV}.lora_down.weight": down,
        f"{QKV}.lora_up.weight": up,
        f"{QKV}.alpha": torch.tensor(3.0),
    }


def _in_a_lokr(value: float) -> Tensors:
    """Return kohya's tensors with a LoKr in which a value is multiplied by zeros only."""
    tensors = {key: tensor for key, tensor in kohya(draw_lora()).items() if not key.startswith(LOKR)}
    first, second = torch.zeros(2, 2), torch.randn(8, 40)
    first[0, 0] = 1
    first[1, 1] = value
    second[3] = 0
    return tensors | {f"{LOKR}.lokr_w1": first, f"{LOKR}.lokr_w2": second}


HOSTILE: dict[str, Callable[[], Tensors]] = {
    "NaN in the last value of down": lambda: _with(DOWN, -1, -1, NAN),
    "NaN in the last value of up": lambda: _with(UP, -1, -1, -NAN),
    "infinity in the first value": lambda: _with(UP, 0, 0, -INF),
    "bfloat16 NaN": lambda: _with(DOWN, 2, 9, NAN, torch.bfloat16),
    "overflow of float16": lambda: _with(DOWN, 2, 9, 1e5, torch.float16),
    "float64 above single precision": lambda: _with(UP, 9, 2, -1e300, torch.float64),
    "float64 whose square overflows": lambda: _with(UP, 0, 0, 1e300, torch.float64),
    "float64 factors whose product overflows": _overflowing_product,
    "e4m3 NaN": lambda: _with(UP, 9, 2, NAN, torch.float8_e4m3fn),
    "e5m2 infinity": lambda: _with(UP, 9, 2, INF, torch.float8_e5m2),
    "overflow of the product": lambda: _with(UP, 9, 2, 3e38),
    "too large": lambda: _with(DOWN, 1, 3, 1.01e9),
    "NaN in down, up zero in this rank": lambda: _in_a_rank_without_effect(NAN, "down"),
    "infinity in down, up zero in this rank": lambda: _in_a_rank_without_effect(INF, "down"),
    "infinity in up, down zero in this rank": lambda: _in_a_rank_without_effect(INF, "up"),
    "too large in a rank without effect": lambda: _in_a_rank_without_effect(3e38, "up"),
    "NaN in down, up zero": lambda: _in_a_zero_update(NAN, "up"),
    "infinity in down, up zero": lambda: _in_a_zero_update(INF, "up"),
    "infinity in down, alpha zero": lambda: _in_a_zero_update(INF, "alpha"),
    "infinity in canceling ranks": lambda: _in_canceling_ranks(INF),
    "NaN in canceling ranks": lambda: _in_canceling_ranks(NAN),
    "too large in canceling ranks": lambda: _in_canceling_ranks(3e38),
    "infinity in a fused module": lambda: _in_a_fused_module(INF),
    "NaN in a LoKr": lambda: _in_a_lokr(NAN),
    "infinity in a LoKr": lambda: _in_a_lokr(INF),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_alpha_is_the_reason_before_the_weights_whether_or_not_a_sketch_follows(
    tmp_path: Path, reader: str
) -> None:
    tensors = peft(draw_lora(ranks=(3,)))
    first, last = min(tensors).rpartition(".alpha")[0], max(key for key in tensors if key.endswith(".alpha"))
    tensors[f"{first}.lora_A.weight"][0, 0] = NAN
    path = write(tmp_path / "lora.safetensors", tensors | {last: torch.ones(2)})
    with pytest.raises(RefusedFile) as caught:
        READERS[reader](path)
    assert caught.value.code == "bad-alpha"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_values_are_refused(tmp_path: Path, fault: str, reader: str) -> None:
    path = write(tmp_path / "lora.safetensors", HOSTILE[fault]())
    with pytest.raises(RefusedFile) as caught:
        READERS[reader](path)
    assert caught.value.code == "nan-or-inf"


@pytest.mark.parametrize(
    "tensors", [lambda: _in_a_rank_without_effect(1.0, "down"), lambda: _in_a_zero_update(1.0, "up"),
                lambda: _in_canceling_ranks(1.0), lambda: _in_a_fused_module(1.0), lambda: _in_a_lokr(1.0)],
    ids=["rank without effect", "zero update", "canceling ranks", "fused module", "LoKr"],
)  # fmt: skip
def test_moderate_values_in_the_same_places_are_accepted(
    tmp_path: Path, tensors: Callable[[], Tensors]
) -> None:
    path = write(tmp_path / "lora.safetensors", tensors())
    reading, sketched = read_and_sketch(path, SLOTS, BOUNDS, SPEC)
    separate = sketch(read(path, SLOTS, BOUNDS).lora, SLOTS, SPEC)
    assert torch.equal(sketched.values, separate.values) and torch.equal(sketched.present, separate.present)
    assert len(reading.lora) == int(sketched.present.sum())


def _draw_magnitudes(rng: random.Random, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Draw values of any sign: of one random magnitude of float64, of one each, or the extremes of the dtype."""
    count, limits = shape[0] * shape[1], torch.finfo(dtype)
    extremes = (limits.max, limits.min, limits.tiny, limits.smallest_normal / 2, 0.0, -0.0, 1.0)
    common = 10 ** rng.uniform(-320, 308)
    values = rng.choice(
        (
            [rng.choice((-1, 1)) * 10 ** rng.uniform(-320, 308) for _ in range(count)],
            [rng.uniform(-1, 1) * common for _ in range(count)],
            [rng.uniform(-1, 1) for _ in range(count)],
            rng.choices(extremes, k=count),
        )
    )
    return torch.tensor(values, dtype=torch.float64).reshape(shape).to(dtype)


@pytest.mark.long(full=5000, sample=100)
def test_values_of_any_magnitude_are_refused_or_have_a_finite_update(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    dtype, shapes = rng.choice(DTYPES), SHAPES[rng.choice(sorted(SHAPES))]
    tensors = {f"{LOKR}.{suffix}": _draw_magnitudes(rng, shape, dtype) for suffix, shape in shapes.items()}
    if rng.random() < 0.5:
        tensors[f"{LOKR}.alpha"] = torch.tensor(10 ** rng.uniform(-320, 12), dtype=torch.float64)
    path = write(tmp_path / "lora.safetensors", tensors)
    try:
        reading, sketched = read_and_sketch(path, SLOTS, BOUNDS, SPEC)
        separate = read(path, SLOTS, BOUNDS).lora
    except RefusedFile as error:
        assert error.code in ("nan-or-inf", "zero-effect")
        return
    assert math.isfinite(sketched.norm) and bool(sketched.values.isfinite().all())
    for factors in (*reading.lora.values(), *separate.values()):
        assert bool(delta(factors).isfinite().all())
