"""A sketch depends only on the update, and its inner products are unbiased."""

import hashlib
import re

import pytest
import torch

from autolora.errors import MismatchError, RefusedFile
from autolora.lora.factors import Factors, Lora, delta, fuse, squared_norm
from autolora.lora.fingerprint import split_mix
from autolora.lora.scales import MAX_MAGNITUDE
from autolora.lora.sketch import (
    CHUNK,
    Sketch,
    SketchSpec,
    cosine,
    inner_product,
    signs,
    sketch,
)
from autolora.lora.slots import Slot
from autolora.lora.slots import slots as known_slots
from tests.lora.writing import FUSED, SLOTS, WIDE, draw_lora

SPEC = SketchSpec(size=32)
TOLERANCE = 1e-5
"""relative to the largest entry: single-precision arithmetic in a different order"""


def assert_close(a: Sketch, b: Sketch, tolerance: float = TOLERANCE) -> None:
    assert torch.equal(a.present, b.present)
    assert (a.values - b.values).abs().max() <= tolerance * a.values.abs().max()


def make(lora: Lora) -> Sketch:
    return sketch(lora, SLOTS, SPEC)


def test_sketch_is_s_times_the_update_times_q() -> None:
    lora = draw_lora()
    result = make(lora)
    for index, slot in enumerate(SLOTS):
        left = signs(f"S|{slot.name}", slot.d_out, 32).T / 32**0.5
        right = signs(f"Q|{slot.fused}", slot.d_in, 32) / 32**0.5
        assert torch.allclose(result.values[index], left @ delta(lora[slot.name]) @ right, atol=1e-4)


def test_is_invariant_to_slot_order() -> None:
    lora = draw_lora()
    assert torch.equal(make(lora).values, make(dict(reversed(lora.items()))).values)


def test_is_invariant_to_dtype() -> None:
    half = {name: Factors(f.down.bfloat16(), f.up.bfloat16(), f.scale) for name, f in draw_lora().items()}
    single = {name: Factors(f.down.float(), f.up.float(), f.scale) for name, f in half.items()}
    assert torch.equal(make(half).values, make(single).values)


def test_sketch_of_a_fused_slot_is_the_sum_of_its_parts() -> None:
    lora = draw_lora()
    by_slot = dict(zip([slot.name for slot in SLOTS], make(lora).values, strict=True))
    for slot in FUSED:
        whole = fuse(lora, slot)
        assert whole is not None
        left = torch.cat([signs(f"S|{part.name}", part.d_out, 32) for part in slot.parts]).T
        right = signs(f"Q|{slot.name}", slot.d_in, 32)
        parts = torch.stack([by_slot[part.name] for part in slot.parts]).sum(0)
        assert torch.allclose(left @ delta(whole) @ right / 32, parts, atol=1e-3)


def test_inner_products_are_unbiased() -> None:
    """Over 400 slots the mean error of ⟨ΔW_a, ΔW_b⟩ / (‖ΔW_a‖‖ΔW_b‖) is within 4 standard errors of 0."""
    errors, norm_errors = [], []
    for number in range(400):
        slot = Slot(name=f"slot.{number}", d_in=24, d_out=40, fused=f"fused.{number}", row=0)
        generator = torch.Generator().manual_seed(number)
        common = torch.randn(24, generator=generator)
        pair = [
            Factors(
                (common + torch.randn(2, 24, generator=generator)),
                torch.randn(40, 2, generator=generator).abs(),
                1.0,
            )
            for _ in range(2)
        ]
        a, b = (sketch({slot.name: factors}, [slot], SPEC) for factors in pair)
        exact = float((delta(pair[0]) * delta(pair[1])).sum())
        scale = (squared_norm(pair[0]) * squared_norm(pair[1])) ** 0.5
        errors.append((inner_product(a, b) - exact) / scale)
        norm_errors.append(inner_product(a, a) / squared_norm(pair[0]) - 1)
    for values in (torch.tensor(errors), torch.tensor(norm_errors)):
        assert abs(values.mean()) <= 4 * values.std() / len(values) ** 0.5
        assert values.std() < 0.5  # about √(2/m + 2/p) = 0.35 for one slot of rank 1


def test_estimates_over_many_slots_are_accurate() -> None:
    slots = [Slot(name=f"slot.{n}", d_in=24, d_out=40, fused=f"fused.{n}", row=0) for n in range(400)]
    generator = torch.Generator().manual_seed(0)
    a, b = (
        {
            s.name: Factors(
                torch.randn(1, 24, generator=generator), torch.randn(40, 1, generator=generator), 1.0
            )
            for s in slots
        }
        for _ in range(2)
    )
    mixed = {
        s.name: Factors(
            torch.cat((a[s.name].down, b[s.name].down)), torch.cat((a[s.name].up, b[s.name].up), 1), 1.0
        )
        for s in slots
    }
    sketch_a, sketch_b, sketch_sum = (sketch(lora, slots, SPEC) for lora in (a, b, mixed))
    assert cosine(sketch_a, sketch_b) == pytest.approx(0, abs=0.05)
    assert cosine(sketch_a, sketch_sum) == pytest.approx(0.5**0.5, abs=0.05)


def test_cosine_with_itself_is_1_and_with_an_empty_lora_0() -> None:
    full, empty = make(draw_lora()), make({})
    assert cosine(full, full) == pytest.approx(1)
    assert cosine(full, empty) == 0
    assert not empty.present.any()


def test_norm_is_close_to_exact_over_many_slots() -> None:
    slots = [Slot(name=f"slot.{n}", d_in=24, d_out=40, fused=f"fused.{n}", row=0) for n in range(400)]
    generator = torch.Generator().manual_seed(3)
    lora = {
        slot.name: Factors(
            torch.randn(4, 24, generator=generator), torch.randn(40, 4, generator=generator), -0.5
        )
        for slot in slots
    }
    exact = sum(map(squared_norm, lora.values())) ** 0.5
    assert sketch(lora, slots, SPEC).norm == pytest.approx(exact, rel=0.03)
    assert sketch({}, slots, SPEC).norm == 0


def test_copies_have_the_same_error_of_the_norm() -> None:
    """The ratio of two estimated norms is exact if one update is a multiple of the other."""
    lora = draw_lora()
    copy = {name: Factors(f.down, 3 * f.up, 0.5 * f.scale) for name, f in lora.items()}
    assert make(copy).norm / make(lora).norm == pytest.approx(1.5, rel=1e-6)


HOSTILE = {
    "NaN": (torch.bfloat16, float("nan")),
    "infinity": (torch.float16, float("-inf")),
    "overflow of half precision": (torch.float16, 1e5),
    "overflow of single precision": (torch.float64, 1e300),
    "overflow of the product": (torch.bfloat16, 3e38),
    "too large": (torch.float32, -1.01 * MAX_MAGNITUDE),
}


@pytest.mark.parametrize("role", ["up", "down"])
@pytest.mark.parametrize("fault", HOSTILE)
def test_values_that_are_not_finite_or_too_large_are_refused(fault: str, role: str) -> None:
    """Wherever they are, and whatever they are multiplied by."""
    dtype, value = HOSTILE[fault]
    for position in (0, 17, -1):
        lora = {name: Factors(f.down.to(dtype), f.up.to(dtype), f.scale) for name, f in draw_lora().items()}
        name = list(lora)[position]
        getattr(lora[name], role).view(-1)[position] = value
        if fault == "NaN":
            other = "up" if role == "down" else "down"
            getattr(lora[name], other).zero_()
        with pytest.raises(RefusedFile, match=re.escape(name)) as caught:
            make(lora)
        assert caught.value.code == "nan-or-inf"


def test_large_values_within_the_limit_are_sketched() -> None:
    lora = {name: Factors(1e6 * f.down, 1e6 * f.up, 1e6 * f.scale) for name, f in draw_lora().items()}
    values = make(lora).values
    assert torch.allclose(values / 1e18, make(draw_lora()).values, rtol=1e-4, atol=1e-5)


def test_slots_that_share_q_match_separate_sketches() -> None:
    """Signs that are still in the buffer are reused only for the same matrix and the same coordinates."""
    slots = [
        Slot(name=f"slot.{n}", d_in=d_in, d_out=40, fused=f"fused.{d_in}", row=0)
        for n, d_in in enumerate((24, 24, CHUNK + 8, CHUNK + 8, 2 * CHUNK, 24))
    ]
    lora = {slot.name: Factors(torch.randn(2, slot.d_in), torch.randn(40, 2), 1.0) for slot in slots}
    together = sketch(lora, slots, SPEC).values
    for index, slot in enumerate(slots):
        alone = sketch({slot.name: lora[slot.name]}, [slot], SPEC).values[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-5, atol=1e-4)  # other orders of sums


def draw_wide(rank: int) -> tuple[Lora, list[Slot]]:
    """Draw updates with FLUX.1-dev's sizes."""
    generator = torch.Generator().manual_seed(rank)
    slots = [slot for slot in known_slots(WIDE) if slot.type in ("double.ff.net.2", "single.norm.linear")]
    lora: Lora = {}
    for slot in slots:
        down = torch.randn(rank, slot.d_in, generator=generator) / 100
        up = torch.randn(slot.d_out, rank, generator=generator) / 100
        lora[slot.name] = Factors(down, up, 0.5)
    return lora, slots


def test_slots_wider_than_a_chunk_match_the_whole_product() -> None:
    """S and Q are expanded in chunks; the sketch equals the product with the whole matrices."""
    lora, slots = draw_wide(2)
    for size in (32, 20):
        result = sketch(lora, slots, SketchSpec(size))
        for index, slot in enumerate(slots):
            assert max(slot.d_in, slot.d_out) > CHUNK
            left = signs(f"S|{slot.name}", slot.d_out, size).T @ lora[slot.name].up
            right = lora[slot.name].down @ signs(f"Q|{slot.fused}", slot.d_in, size)
            whole = left @ right * (lora[slot.name].scale / size)
            assert (result.values[index] - whole).abs().max() <= TOLERANCE * whole.abs().max()


def test_mismatched_slots_and_sizes_raise() -> None:
    with pytest.raises(MismatchError, match="transformer_blocks"):
        sketch(draw_lora(), SLOTS[1:], SPEC)
    with pytest.raises(MismatchError):
        cosine(make(draw_lora()), sketch(draw_lora(), SLOTS, SketchSpec(size=16)))
    assert SPEC.key != SketchSpec(size=16).key


def test_split_mix_matches_reference_implementation() -> None:
    """The first outputs for seed 1234567."""
    assert [int(word) for word in split_mix(1234567, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_signs_are_unchanged() -> None:
    """Stored sketches depend on these bits: changing the definition requires a new spec key."""
    for size, digest in ((32, "6f08bfbfeb201374"), (20, "0fc109b781c7407b")):
        matrix = signs("S|transformer_blocks.0.attn.to_q", 24, size)
        assert set(matrix.flatten().tolist()) == {-1.0, 1.0}
        assert hashlib.sha256(matrix.to(torch.int8).numpy().tobytes()).hexdigest()[:16] == digest


def test_signs_match_the_documented_definition() -> None:
    """The definition in the docstring of autolora.lora.sketch, in plain Python."""
    text = "autolora-sketch-1|Q|blocks.0.ff_a.0|16x20"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    matrix = signs("Q|blocks.0.ff_a.0", 16, 20)
    for coordinate, row in ((0, 0), (3, 4), (7, 19), (15, 19)):
        bit = coordinate * 20 + row
        z = (seed + (bit // 64 + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        assert matrix[coordinate, row] == 1 - 2 * (z >> bit % 64 & 1)
