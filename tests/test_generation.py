"""Generation: the same pictures as diffusers makes, and provenance that makes them again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate import GateSpec
from autolora.fusion.install import fused
from autolora.generation import Generator, generate, images, read_provenance, save
from autolora.lora.factors import Factors
from autolora.lora.read import read
from autolora.params import GenerationParams, ModelsParams, PoolParams, load
from autolora.records import Hit
from autolora.slots import slots
from autolora.storage.files import hash_file, sharded
from tests.support.tiny_flux import CONFIG, TOKENS, random_lora, save_kohya, save_peft, save_pipeline

REPOSITORY = Path(__file__).parents[1]
PARAMS = GenerationParams(
    width=32, height=32, steps=3, guidance=3.5, max_sequence_length=TOKENS, method="gated", batch=2,
    relevance_floor=0.1, relevance_ceiling=0.5,
)  # fmt: skip
PROMPT = "a red ball"


@pytest.fixture(scope="module")
def bounds() -> PoolParams:
    return load(REPOSITORY / "params.yaml").pool


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def generator(root: Path, bounds: PoolParams) -> Generator:
    base = ModelsParams(
        pipeline=str(save_pipeline(root / "flux")), pipeline_revision=None, vlm="", vlm_revision=None,
        device="cpu", dtype="float32", threads=1,
    )  # fmt: skip
    return Generator(root, base, bounds)


@pytest.fixture(scope="module")
def hits(root: Path) -> list[Hit]:
    """Two adapters in the pool, as retrieval names them."""
    found = []
    for rank, (seed, score) in enumerate([(1, 0.4), (2, 0.2)], 1):
        file = save_peft(random_lora(seed), root / f"{seed}.safetensors")
        place = sharded(root / "data/pool/weights", hash_file(file), ".safetensors")
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
        found.append(
            Hit(
                rank=rank, score=score, sha256=place.stem, hub="huggingface", id=f"someone/{seed}",
                file=file.name, license="mit", nsfw=False, trigger_words=("zzz",), index="i" * 64,
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def gates_folder(root: Path) -> Path:
    spec = GateSpec(
        form="full", relevance=True, spread=0.5, bias=0.0, scale=1.0, relevance_weight=4.0, global_rank=2
    )
    torch.manual_seed(3)
    fusion.save(fusion.build(slots(CONFIG), spec), slots(CONFIG), fusion.folder(root))
    return fusion.folder(root)


def draw(pipeline: Any) -> Image.Image:
    return images(pipeline, [PROMPT], [5], PARAMS)[0]


def difference(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of two pictures, in 1/255."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_one_adapter_under_direct_is_what_diffusers_makes_of_the_file(
    generator: Generator, bounds: PoolParams, tmp_path: Path, layout: str
) -> None:
    file = tmp_path / "adapter.safetensors"
    save_peft(random_lora(1), file) if layout == "peft" else save_kohya(1, file)
    pipeline = generator.pipeline
    base = draw(pipeline)
    with fused(pipeline.transformer, [read(file, generator.slots, bounds).lora]):
        ours = draw(pipeline)
    pipeline.load_lora_weights(str(file))
    theirs = draw(pipeline)
    pipeline.unload_lora_weights()
    assert difference(ours, base) > 10
    assert difference(ours, theirs) <= 1
    assert difference(draw(pipeline), base) == 0


def test_a_zero_adapter_and_no_adapter_give_the_base_picture(
    generator: Generator, gates_folder: Path
) -> None:
    base = draw(generator.pipeline)
    zero = {name: Factors(part.down, torch.zeros_like(part.up), 1.0) for name, part in random_lora(1).items()}
    for gates in (None, generator.gates):
        with fused(generator.pipeline.transformer, [zero], gates=gates):
            assert difference(draw(generator.pipeline), base) == 0
    for method in ("direct", "gated"):
        picture = generate(generator, PROMPT, [], method=method, seed=5, params=PARAMS)
        assert difference(picture.image, base) == 0
        assert picture.provenance["adapters"] == []


@pytest.mark.parametrize("method", ["direct", "gated"])
def test_order_of_adapters_does_not_matter(
    generator: Generator, hits: list[Hit], gates_folder: Path, method: Any
) -> None:
    pictures = [
        generate(generator, PROMPT, order, method=method, seed=5, params=PARAMS).image
        for order in (hits, hits[::-1])
    ]
    assert difference(*pictures) <= 1
    assert difference(pictures[0], draw(generator.pipeline)) > 10


def test_what_else_is_in_the_batch_does_not_matter(generator: Generator) -> None:
    alone = [
        images(generator.pipeline, [prompt], [seed], PARAMS)[0]
        for prompt, seed in (("a", 1), ("b", 2), ("c", 1))
    ]
    together = images(generator.pipeline, ["a", "b", "c"], [1, 2, 1], PARAMS)
    assert [difference(*pair) <= 1 for pair in zip(alone, together, strict=True)] == [True] * 3
    assert difference(alone[0], alone[2]) > 0


def test_provenance_makes_the_same_picture_again(
    generator: Generator, hits: list[Hit], gates_folder: Path, tmp_path: Path
) -> None:
    picture = generate(generator, PROMPT, hits, method="gated", seed=7, params=PARAMS)
    save(picture, tmp_path / "picture.png")
    facts = read_provenance(tmp_path / "picture.png")
    assert facts == picture.provenance
    assert [one["sha256"] for one in facts["adapters"]] == [hit.sha256 for hit in hits]
    assert [one["relevance"] for one in facts["adapters"]] == pytest.approx([0.75, 0.25])
    assert facts["adapters"][0]["trigger_words"] == ["zzz"]
    assert facts["index"] == hits[0].index
    assert facts["gates"] == generator.gates_digest
    again = generate(
        generator, facts["prompt"], hits, method=facts["method"], seed=facts["seed"],
        params=GenerationParams(**facts["generation"]),
    )  # fmt: skip
    with Image.open(tmp_path / "picture.png") as saved:
        assert difference(again.image, saved) == 0


def test_direct_has_no_gates_in_its_provenance(generator: Generator, hits: list[Hit]) -> None:
    picture = generate(generator, PROMPT, hits[:1], method="direct", seed=0, params=PARAMS)
    assert picture.provenance["gates"] is None


def test_a_file_without_provenance_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("plain.png", "text.png", "missing.png"):
        with pytest.raises(MissingArtifact, match=name):
            read_provenance(tmp_path / name)


def test_missing_gates_and_weights_say_what_to_do(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro fusion"):
        fusion.load(slots(CONFIG), tmp_path)
    stranger = Hit(**{name: getattr(hits[0], name) for name in hits[0].__slots__} | {"sha256": "0" * 64})
    with pytest.raises(MissingArtifact, match="0000"):
        generate(generator, PROMPT, [stranger], method="direct", seed=0, params=PARAMS)


def test_gates_of_another_base_and_damaged_gates_are_named(gates_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="another base"):
        fusion.load(slots(CONFIG | {"num_layers": 2}), gates_folder)
    (tmp_path / "config.json").write_bytes((gates_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((gates_folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(MissingArtifact, match="cannot be read"):
        fusion.load(slots(CONFIG), tmp_path)
