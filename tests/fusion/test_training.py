"""Training the gates: what learns, what it learns, and that it repeats."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autolora.captions.store import captions_path
from autolora.dataset.store import LOCK
from autolora.errors import MissingArtifact
from autolora.fusion import stage
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.training import Example, fit
from autolora.params import FusionParams, ModelsParams, load
from autolora.presets import FUSION, resolve
from autolora.records import Caption
from autolora.slots import fused_slots, slots
from autolora.storage.files import hash_file, sharded, write_rows
from autolora.storage.incremental import read_digest
from tests.support.tiny_flux import CONFIG, TOKENS, random_lora, save_peft, save_pipeline

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")
PARAMS = replace(SHIPPED.fusion, steps=6, batch=4, picture=32, global_rank=2)
LORAS = {"a": random_lora(1), "b": random_lora(2), "c": random_lora(3)}
SIGMAS = torch.linspace(1, 0.01, 50)
BLANK = (torch.zeros(1, 5, 16), torch.zeros(1, 16))


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def example(sha256: str, seed: int) -> Example:
    draw = torch.Generator().manual_seed(seed)
    return Example(
        sha256=sha256,
        family=f"family-{sha256}",
        latents=torch.randn(2, 4, 16, generator=draw),
        states=torch.randn(3, 5, 16, generator=draw),
        pooled=torch.randn(3, 16, generator=draw),
        picture=torch.tensor([0, 0, 1]),
    )


EXAMPLES = [example(sha256, seed) for seed, sha256 in enumerate(LORAS)]


def fitted(transformer: Any, params: FusionParams) -> tuple[Gates, list[float]]:
    torch.manual_seed(params.seed)
    table = fused_slots(CONFIG) if resolve(FUSION, params).slots == "fused" else slots(CONFIG)
    gates = fusion.build(table, stage.spec(params))
    steps: list[int] = []
    losses = fit(
        gates,
        transformer,
        EXAMPLES,
        LORAS.__getitem__,
        SIGMAS,
        params,
        lambda done, *_: steps.append(done),
        BLANK,
    )
    assert steps == list(range(1, params.steps + 1))
    return gates, losses


def test_only_the_gates_learn_and_a_seed_repeats(transformer: Any) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    gates, losses = fitted(transformer, PARAMS)
    again, _ = fitted(transformer, PARAMS)
    other, _ = fitted(transformer, replace(PARAMS, seed=1))
    assert len(losses) == PARAMS.steps
    assert fusion.digest(gates) == fusion.digest(again) != fusion.digest(other)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.parametrize("preset", FUSION)
def test_recomputed_activations_give_the_same_gates(transformer: Any, preset: str) -> None:
    params = replace(PARAMS, preset=preset, steps=3, global_rank=None)
    plain, _ = fitted(transformer, params)
    transformer.enable_gradient_checkpointing()
    recomputed, _ = fitted(transformer, params)
    transformer.disable_gradient_checkpointing()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(recomputed.state_dict()[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("departure", [{"hinge": 9.0}, {"caption_dropout": 1.0}], ids=lambda d: next(iter(d)))
def test_departures_of_training_are_heard(transformer: Any, departure: dict[str, float]) -> None:
    params = replace(PARAMS, steps=2, single_share=0.0)
    plain, losses = fitted(transformer, params)
    other, changed = fitted(transformer, replace(params, **departure))
    assert fusion.digest(plain) != fusion.digest(other)
    assert ("hinge" in departure) == (changed[0] > losses[0] + 1)


def test_gates_learn_to_close_on_what_only_disturbs(transformer: Any) -> None:
    # no adapter helps to predict noise, so the loss falls by closing the gates
    params = replace(PARAMS, steps=40, relevance=False, bias=2.0, learning_rate=0.05)
    gates, losses = fitted(transformer, params)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert sum(gate.bias.mean().item() for gate in gates.model_dict.values()) < 2.0 * len(gates.model_dict)


def test_one_family_is_not_enough(transformer: Any) -> None:
    gates = fusion.build(slots(CONFIG), stage.spec(PARAMS))
    with pytest.raises(MissingArtifact, match="two or more families"):
        fit(gates, transformer, EXAMPLES[:1], LORAS.__getitem__, SIGMAS, PARAMS, lambda *_: None, BLANK)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with three adapters, two of them with captioned pictures, all in the training lock."""
    rows = []
    written = []
    for seed in range(3):
        file = save_peft(random_lora(seed), tmp_path / "adapter.safetensors")
        weights = sharded(tmp_path / "data/pool/weights", hash_file(file), ".safetensors")
        weights.parent.mkdir(parents=True, exist_ok=True)
        file.rename(weights)
        Image.new("RGB", (40, 48), (80 * seed, 20, 90)).save(tmp_path / "picture.png")
        picture = sharded(tmp_path / "data/pool/renderings", hash_file(tmp_path / "picture.png"), ".png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "picture.png").rename(picture)
        rows.append(
            {"sha256": weights.stem, "family": weights.stem, "split": "train", "renderings": [picture.stem]}
        )
        written += [
            Caption(image=picture.stem, prompt="p", vlm="v", length=length, text=f"{length} picture {seed}")
            for length in ("short", "long")
            if seed < 2
        ]
    write_rows(tmp_path / LOCK, [{"train_until": "2026-01-01"}, *rows])
    write_rows(captions_path(tmp_path), [caption_row(caption) for caption in written])
    return tmp_path


def caption_row(caption: Caption) -> dict[str, str]:
    return {name: getattr(caption, name) for name in caption.__slots__}


def base(folder: Path) -> ModelsParams:
    return replace(SHIPPED.models, pipeline=str(save_pipeline(folder)), threads=1)


def test_the_stage_saves_gates_that_load_and_repeats_itself(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = base(tmp_path_factory.getbasetemp() / "tiny-flux")
    train = lambda: stage.train(root, PARAMS, models, SHIPPED.pool, TOKENS, lambda *_: None)  # noqa: E731
    digest = train()
    found = read_digest(root, "fusion")
    assert (found["sha256"], found["adapters"], found["left_out"]) == (digest, 2, 1)
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    assert fusion.digest(gates) == digest
    files = sorted(path for path in (root / "data/fusion").iterdir())
    stamps = [path.stat().st_mtime_ns for path in files]
    (root / "digests/fusion.json").unlink()  # as a kill before the last act leaves it
    assert train() == digest
    assert [path.stat().st_mtime_ns for path in files] == stamps


def test_the_stage_without_a_lock_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro dataset"):
        stage.train(tmp_path, PARAMS, SHIPPED.models, SHIPPED.pool, TOKENS, lambda *_: None)
