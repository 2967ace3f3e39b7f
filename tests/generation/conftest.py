"""A tiny pipeline with gates, and a pool of two adapters."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora.fusion import store as fusion
from autolora.generation.images import Generator
from autolora.lora.slots import slots
from autolora.params import ModelsParams, PoolParams, load
from autolora.pool.store import weights_path
from autolora.presets.fusion import FUSION
from autolora.records import Hit
from autolora.storage.hashes import hash_file
from tests.support.tiny_flux import CONFIG, random_lora, save_peft, save_pipeline

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bounds() -> PoolParams:
    return load(REPOSITORY / "params.yaml").pool


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="session")
def generator(root: Path, bounds: PoolParams) -> Generator:
    base = ModelsParams(
        pipeline=str(save_pipeline(root / "flux")), pipeline_revision=None, vlm="", vlm_revision=None,
        device="cpu", dtype="float32", threads=1, memory=None,
    )  # fmt: skip
    return Generator(root, base, bounds)


@pytest.fixture(scope="session")
def hits(root: Path) -> list[Hit]:
    """Return the hits of two adapters of the pool."""
    hits = []
    for rank, (seed, score, relevance) in enumerate([(1, 0.4, 0.75), (2, 0.2, 0.25)], 1):
        file = save_peft(random_lora(seed), root / f"{seed}.safetensors")
        path = weights_path(root, hash_file(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        file.rename(path)
        hits.append(
            Hit(
                rank=rank, score=score, relevance=relevance, sha256=path.stem, hub="huggingface", id=f"someone/{seed}",
                file=file.name, license="mit", nsfw=False, trigger_words=("zzz",), index="i" * 64,
            )
        )  # fmt: skip
    return hits


@pytest.fixture(scope="session")
def gates_folder(root: Path) -> Path:
    variant = replace(FUSION["best"], init_std=0.5, init_bias=0.0, relevance_weight=4.0, global_rank=2)
    torch.manual_seed(3)
    fusion.save(fusion.build(CONFIG, variant), slots(CONFIG), fusion.folder(root))
    return fusion.folder(root)
