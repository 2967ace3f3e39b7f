"""An adapter's vector depends on the direction of its updates only: from files on disk to the preset `best`.

Each file is read by the pool's reader and its sketch is stored and loaded in the pool's format, as in a refresh.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, concatenate
from autolora.encoder.ridge import RidgeEncoder, fit_ridge
from autolora.encoder.store import reader
from autolora.lora.factors import Factors, Lora
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import SketchSpec, sketch
from autolora.pool import store as pool
from autolora.presets.encoder import ENCODER
from autolora.storage.hashes import hash_file
from tests.lora.copies import COPIES, LAYOUTS, STORAGE_VARIANTS, Change
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, draw_lora, peft, write

SPEC, WIDTH, TRAIN_ADAPTERS = SketchSpec(BOUNDS.sketch_size), 32, 24
TOLERANCE = 1e-5
"""length of the difference of two unit vectors of equal updates: sums in single precision in another order, which move
a few numbers of a sketch to a neighboring number of the pool's float16"""
ROUNDED = {
    torch.float16: 2e-4,
    torch.bfloat16: 1e-3,
    torch.float8_e4m3fn: 0.03,
}
"""dtype -> the same, if the factors are rounded to it: their entries change by up to 2^-11, 2^-8, 2^-4 of themselves,
so the update itself changes"""
MIN_DIFFERENCE = 0.5
"""length of the difference of the unit vectors of unlike updates, at least"""


def _scale(rng: random.Random, factors: Factors) -> Factors:
    return Factors(factors.down, factors.up, factors.scale * 10 ** rng.uniform(-2, 1))


SAME_DIRECTION: dict[str, Change] = {
    "gauge": COPIES["re-factored"],
    "rank padding": COPIES["rank-padded"],
    "double precision": COPIES["re-saved in double precision"],
    "scale in the factors": COPIES["moved scale"],
    "strength": COPIES["re-scaled"],
    "another strength per slot": _scale,
}
"""kind -> change of a slot's factors that preserves the direction of its update exactly, up to rounding"""


@pytest.fixture(scope="module")
def encoder() -> RidgeEncoder:
    """Return the encoder of the preset `best`, fitted to random adapters and targets."""
    config = EncoderConfig(
        transformer=CONFIG, variant=ENCODER["best"], width=WIDTH, sketch_size=SPEC.size,
        sketch_key=SPEC.key, text_encoder="t" * 64,
    )  # fmt: skip
    fitted, names = RidgeEncoder(config), [str(n) for n in range(TRAIN_ADAPTERS)]
    targets = torch.randn(TRAIN_ADAPTERS, WIDTH, generator=torch.Generator().manual_seed(0))
    fit_ridge(
        fitted,
        names,
        names,
        functional.normalize(targets, dim=-1),
        lambda name: config.sketch_to_batch(sketch(draw_lora(int(name)), SLOTS, SPEC)),
        seed=0,
    )
    return fitted


def draw_adapter(seed: int) -> Lora:
    """Draw a LoRA that resembles a training adapter and leaves out some slots."""
    rng = random.Random(seed)
    known, own = draw_lora(seed % TRAIN_ADAPTERS), draw_lora(1000 + seed)
    joined = {
        name: Factors(
            torch.cat((known[name].down, own[name].down)),
            torch.cat((known[name].up, own[name].up), 1),
            f.scale,
        )
        for name, f in own.items()
    }
    return {
        name: joined[name] for name in rng.sample(sorted(joined), rng.randint(len(joined) // 2, len(joined)))
    }


def load_batch(root: Path, encoder: RidgeEncoder, tensors: Mapping[str, Tensor]) -> AdapterBatch:
    """Write a file, sketch it into the pool, and return what the encoder reads."""
    path = write(root / "lora.safetensors", tensors)
    sha256 = hash_file(path)
    pool.save_sketch(root, sha256, read_and_sketch(path, SLOTS, BOUNDS, SPEC)[1])
    return reader(root, encoder.config, BOUNDS)(sha256)


def embed_file(root: Path, encoder: RidgeEncoder, tensors: Mapping[str, Tensor]) -> Tensor:
    """Write a file and return the vector (d,) of its adapter."""
    batch = load_batch(root, encoder, tensors)
    return encoder.embed(batch.values, batch.present)[0]


def lay_out_randomly(rng: random.Random, lora: Lora) -> dict[str, Tensor]:
    """Return the tensors of a LoRA in a random layout and order."""
    tensors = LAYOUTS[rng.choice(sorted(LAYOUTS))](lora)
    return STORAGE_VARIANTS["shuffled keys"](rng, tensors)


def change(kind: str, rng: random.Random, lora: Lora) -> Lora:
    return {name: SAME_DIRECTION[kind](rng, factors) for name, factors in lora.items()}


def cast(lora: Lora, dtype: torch.dtype) -> Lora:
    return {name: Factors(f.down.to(dtype), f.up.to(dtype), f.scale) for name, f in lora.items()}


def difference(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm())


@pytest.mark.parametrize("kind", SAME_DIRECTION)
@pytest.mark.long(full=500, sample=3)
def test_equal_directions_have_equal_vectors(
    tmp_path: Path, encoder: RidgeEncoder, kind: str, seed: int
) -> None:
    rng, lora = random.Random(seed), draw_adapter(seed)
    copy = lay_out_randomly(rng, change(kind, rng, lora))
    assert (
        difference(embed_file(tmp_path, encoder, peft(lora)), embed_file(tmp_path, encoder, copy)) < TOLERANCE
    )


@pytest.mark.long(full=500, sample=3)
def test_all_changes_together_leave_the_vector(tmp_path: Path, encoder: RidgeEncoder, seed: int) -> None:
    rng, lora = random.Random(seed), draw_adapter(seed)
    copy = lora
    single = sorted(SAME_DIRECTION.keys() - {"double precision"})
    for kind in (*rng.sample(single, len(single)), "double precision"):
        copy = change(kind, rng, copy)
    original = embed_file(tmp_path, encoder, peft(lora))
    assert difference(original, embed_file(tmp_path, encoder, lay_out_randomly(rng, copy))) < TOLERANCE


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.long(full=200, sample=2)
def test_layouts_of_an_adapter_have_equal_vectors(
    tmp_path: Path, encoder: RidgeEncoder, layout: str, seed: int
) -> None:
    lora = draw_adapter(seed)
    original, copy = (
        embed_file(tmp_path, encoder, tensors) for tensors in (peft(lora), LAYOUTS[layout](lora))
    )
    assert difference(original, copy) < TOLERANCE


@pytest.mark.parametrize("kind", STORAGE_VARIANTS)
@pytest.mark.long(full=200, sample=2)
def test_order_and_storage_of_keys_do_not_matter(
    tmp_path: Path, encoder: RidgeEncoder, kind: str, seed: int
) -> None:
    rng, tensors = random.Random(seed), peft(draw_adapter(seed))
    original = embed_file(tmp_path, encoder, tensors)
    assert torch.equal(original, embed_file(tmp_path, encoder, STORAGE_VARIANTS[kind](rng, tensors)))


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
@pytest.mark.long(full=500, sample=3)
def test_only_the_rounding_of_a_dtype_changes_the_vector(
    tmp_path: Path, encoder: RidgeEncoder, dtype: torch.dtype, seed: int
) -> None:
    lora = draw_adapter(seed)
    rounded = cast(lora, dtype)
    vectors = [
        embed_file(tmp_path, encoder, peft(version))
        for version in (lora, rounded, cast(rounded, torch.float32), cast(rounded, torch.float64))
    ]
    assert difference(vectors[0], vectors[1]) < ROUNDED[dtype]
    assert max(difference(vectors[1], same) for same in vectors[2:]) < TOLERANCE


@pytest.mark.long(full=500, sample=3)
def test_unlike_updates_have_other_vectors(tmp_path: Path, encoder: RidgeEncoder, seed: int) -> None:
    """The invariances above are not due to an encoder that ignores its input."""
    lora = draw_adapter(seed)
    negated = {name: Factors(f.down, -f.up, f.scale) for name, f in lora.items()}
    vector = embed_file(tmp_path, encoder, peft(lora))
    for other in (negated, draw_adapter(seed + 1)):
        assert difference(vector, embed_file(tmp_path, encoder, peft(other))) > MIN_DIFFERENCE


@pytest.mark.long(full=200, sample=3)
def test_vectors_of_a_batch_depend_neither_on_its_order_nor_on_its_members(
    tmp_path: Path, encoder: RidgeEncoder, seed: int
) -> None:
    rng = random.Random(seed)
    adapters = [
        load_batch(tmp_path, encoder, lay_out_randomly(rng, draw_adapter(10 * seed + n)))
        for n in range(rng.randint(2, 6))
    ]
    order = rng.sample(range(len(adapters)), rng.randint(1, len(adapters)))
    batch = concatenate([adapters[position] for position in order])
    together = encoder.embed(batch.values, batch.present)
    for vector, position in zip(together, order, strict=True):
        alone = encoder.embed(adapters[position].values, adapters[position].present)[0]
        assert difference(vector, alone) < TOLERANCE
