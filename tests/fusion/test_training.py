"""Training the gates: what is trained, what the losses do, and that a seed repeats."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autolora.captions.store import captions_path
from autolora.dataset.store import TRAINING_LOCK
from autolora.errors import MissingArtifact
from autolora.fusion import stage
from autolora.fusion import store as fusion
from autolora.fusion.checkpoint import Checkpoint
from autolora.fusion.gate import Gates
from autolora.fusion.training import (
    EPOCHS,
    CaptionedAdapter,
    EncodedAdapter,
    Progress,
    begin_training,
    fit,
    learning_rate_factor,
)
from autolora.params import FusionParams, ModelsParams, load
from autolora.pool.store import rendering_path, weights_path
from autolora.presets import FUSION, Preset
from autolora.records import Caption
from autolora.slots import slots
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_file
from autolora.storage.incremental import read_digest
from tests.support.tiny_flux import CONFIG, TOKENS, random_lora, save_peft, save_pipeline

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")
LORAS = {"a": random_lora(1), "b": random_lora(2), "c": random_lora(3)}
SIGMAS = torch.linspace(1, 0.01, 50)
EMPTY_CAPTION = (torch.zeros(1, 5, 16), torch.zeros(1, 16))


def fusion_params(preset: Preset = "best", *, steps: int = 6, **overrides: object) -> FusionParams:
    """Return params for a short training; `overrides` replace fields of the preset's variant."""
    variant = replace(FUSION[preset], **{"learning_rate": 0.005} | overrides)  # type: ignore[arg-type]
    return replace(SHIPPED.fusion, preset=preset, variant=variant, steps=steps, batch=4, image_size=32)


PARAMS = fusion_params(global_rank=2)


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def random_encoded(seed: int) -> EncodedAdapter:
    generator = torch.Generator().manual_seed(seed)
    return EncodedAdapter(
        latents=torch.randn(2, 4, 16, generator=generator),
        states=torch.randn(3, 5, 16, generator=generator),
        pooled=torch.randn(3, 16, generator=generator),
        image_of_caption=torch.tensor([0, 0, 1]),
    )


EXAMPLES = [
    CaptionedAdapter(
        sha256=sha256,
        family=f"family-{sha256}",
        images=("x", "y"),
        captions=((0, "a"), (0, "b"), (1, "c")),
    )
    for sha256 in LORAS
]
ENCODED = {sha256: random_encoded(seed) for seed, sha256 in enumerate(LORAS)}


def train_gates(
    transformer: Any, params: FusionParams, examples: list[CaptionedAdapter] = EXAMPLES
) -> tuple[Gates, list[float]]:
    """Return trained gates and the loss of each step."""
    torch.manual_seed(params.seed)
    gates = fusion.build(CONFIG, params.variant)
    steps: list[int] = []
    losses = fit(
        gates,
        transformer,
        examples,
        lambda example: ENCODED[example.sha256],
        LORAS.__getitem__,
        SIGMAS,
        params,
        lambda done, *_: steps.append(done),
        EMPTY_CAPTION,
    )
    assert steps == list(range(1, params.steps + 1))
    return gates, losses


def test_only_the_gates_are_trained_and_a_seed_repeats(transformer: Any) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    gates, losses = train_gates(transformer, PARAMS)
    same_seed, _ = train_gates(transformer, PARAMS)
    other_seed, _ = train_gates(transformer, replace(PARAMS, seed=1))
    assert len(losses) == PARAMS.steps
    assert fusion.hash_weights(gates) == fusion.hash_weights(same_seed) != fusion.hash_weights(other_seed)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.parametrize("preset", FUSION)
def test_gradient_checkpointing_gives_the_same_gates(transformer: Any, preset: Preset) -> None:
    params = fusion_params(preset, steps=3)
    plain, _ = train_gates(transformer, params)
    transformer.enable_gradient_checkpointing()
    recomputed, _ = train_gates(transformer, params)
    transformer.disable_gradient_checkpointing()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(recomputed.state_dict()[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "override", [{"hinge": 9.0}, {"caption_dropout": 1.0}], ids=lambda override: next(iter(override))
)
def test_hinge_and_caption_dropout_change_the_gates(transformer: Any, override: dict[str, float]) -> None:
    plain, losses = train_gates(transformer, fusion_params(steps=2, single_share=0.0))
    other, other_losses = train_gates(transformer, fusion_params(steps=2, single_share=0.0, **override))
    assert fusion.hash_weights(plain) != fusion.hash_weights(other)
    assert ("hinge" in override) == (other_losses[0] > losses[0] + 1)


def test_hinge_uses_the_targets_image_with_the_other_adapters_caption(
    transformer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(_: Any, batch: Any, guidance: float) -> torch.Tensor:
        clean = batch.noised - batch.sigma[:, None, None] * batch.velocity  # x_t = x0 + σ (ε - x0)
        batches.append((clean, batch.states))
        return torch.zeros((), requires_grad=True)

    monkeypatch.setattr("autolora.fusion.training._error", record)
    train_gates(transformer, fusion_params("released", steps=1, caption_dropout=0.0))
    (image, caption), (hinge_image, hinge_caption) = batches
    torch.testing.assert_close(hinge_image, image)
    (owner,) = [encoded for encoded in ENCODED.values() if has_caption(encoded, caption[0])]
    assert not has_caption(owner, hinge_caption[0])


def has_caption(encoded: EncodedAdapter, states: torch.Tensor) -> bool:
    return any(torch.equal(known, states) for known in encoded.states)


def test_an_adapter_is_encoded_only_when_a_step_needs_it(transformer: Any) -> None:
    encoded: list[str] = []

    def encode(example: CaptionedAdapter) -> EncodedAdapter:
        encoded.append(example.sha256)
        return ENCODED[example.sha256]

    params = fusion_params(steps=2, single_share=0.0)
    gates = fusion.build(CONFIG, params.variant)
    many = [replace(EXAMPLES[0], sha256=name, family=name) for name in "abc" for _ in range(1000)]
    fit(gates, transformer, many, encode, LORAS.__getitem__, SIGMAS, params, lambda *_: None, EMPTY_CAPTION)
    assert len(encoded) == params.steps


class Killed(Exception):
    """Raised instead of a kill."""


def kill_after(last: int) -> Progress:
    """Return a progress function that ends the training after a step."""

    def progress(done: int, *_: object) -> None:
        if done == last:
            raise Killed

    return progress


@pytest.mark.parametrize("preset", ["best", "released"])
def test_a_killed_training_continues_with_the_same_result(
    transformer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Preset
) -> None:
    monkeypatch.setattr("autolora.fusion.training.STEPS_BETWEEN", 2)
    params = fusion_params(preset, steps=6)
    whole, losses = train_gates(transformer, params)
    checkpoint, done = Checkpoint(tmp_path / "state.pt", "key"), []

    def train(progress: Progress, checkpoint: Checkpoint) -> tuple[Gates, list[float]]:
        torch.manual_seed(7)  # other initial gates, which the checkpoint replaces
        gates, encode = fusion.build(CONFIG, params.variant), lambda example: ENCODED[example.sha256]
        if not checkpoint.path.exists():
            torch.manual_seed(params.seed)
            gates = fusion.build(CONFIG, params.variant)
        inputs = (gates, transformer, EXAMPLES, encode, LORAS.__getitem__, SIGMAS, params)
        return gates, fit(*inputs, progress, EMPTY_CAPTION, checkpoint)

    with pytest.raises(Killed):
        train(kill_after(5), checkpoint)
    continued, all_losses = train(lambda step, *_: done.append(step), checkpoint)
    assert done == [5, 6]
    assert all_losses == losses
    assert fusion.hash_weights(continued) == fusion.hash_weights(whole)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK"])
def test_a_damaged_or_foreign_checkpoint_is_ignored(
    transformer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    params = fusion_params(steps=1)
    gates = fusion.build(CONFIG, params.variant)
    before = fusion.hash_weights(gates)
    state = begin_training(gates, params)
    (tmp_path / "damaged.pt").write_bytes(content)
    Checkpoint(tmp_path / "damaged.pt", "key").restore(state)
    assert "damaged.pt is damaged" in caplog.text
    Checkpoint(tmp_path / "other.pt", "another key").save(state)
    state.losses.append(0.5)
    Checkpoint(tmp_path / "other.pt", "key").restore(state)
    assert (state.losses, fusion.hash_weights(gates)) == ([0.5], before)
    Checkpoint(tmp_path / "other.pt", "another key").restore(state)
    assert state.losses == []


def test_gates_close_if_the_adapters_do_not_help(transformer: Any) -> None:
    # no adapter helps to predict noise, so the loss falls by closing the gates
    params = fusion_params(steps=40, relevance=False, init_bias=2.0, global_rank=2, learning_rate=0.05)
    gates, losses = train_gates(transformer, params)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert sum(gate.bias.mean().item() for gate in gates.model_dict.values()) < 2.0 * len(gates.model_dict)


def test_one_family_is_not_enough(transformer: Any) -> None:
    one_family = [replace(example, family="family") for example in EXAMPLES]
    with pytest.raises(MissingArtifact, match="two or more families"):
        train_gates(transformer, PARAMS, one_family)
    train_gates(transformer, fusion_params("paper", steps=1), one_family)
    with pytest.raises(MissingArtifact, match="two or more training adapters"):
        train_gates(transformer, fusion_params("paper", steps=1), EXAMPLES[:1])


def test_cosine_schedule_is_constant_within_an_epoch() -> None:
    steps = 4 * EPOCHS
    factors = [learning_rate_factor("cosine", step, steps) for step in range(steps)]
    assert factors[0] == factors[3] == 1.0 > factors[4]
    assert factors[-1] == pytest.approx(0.684, abs=1e-3)
    assert {learning_rate_factor("constant", step, steps) for step in range(steps)} == {1.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with three adapters in the training lock, two of them with captioned images."""
    rows = []
    captions = []
    for seed in range(3):
        file = save_peft(random_lora(seed), tmp_path / "adapter.safetensors")
        weights = weights_path(tmp_path, hash_file(file))
        weights.parent.mkdir(parents=True, exist_ok=True)
        file.rename(weights)
        Image.new("RGB", (40, 48), (80 * seed, 20, 90)).save(tmp_path / "image.png")
        image = rendering_path(tmp_path, hash_file(tmp_path / "image.png"))
        image.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "image.png").rename(image)
        rows.append(
            {"sha256": weights.stem, "family": weights.stem, "split": "train", "renderings": [image.stem]}
        )
        captions += [
            Caption(image=image.stem, prompt="p", vlm="v", length=length, text=f"{length} image {seed}")
            for length in ("short", "long")
            if seed < 2
        ]
    write_rows(tmp_path / TRAINING_LOCK, [{"train_until": "2026-01-01"}, *rows])
    write_rows(captions_path(tmp_path), [caption_row(caption) for caption in captions])
    return tmp_path


def caption_row(caption: Caption) -> dict[str, str]:
    return {name: getattr(caption, name) for name in caption.__slots__}


def base(folder: Path) -> ModelsParams:
    return replace(SHIPPED.models, pipeline=str(save_pipeline(folder)), threads=1)


def test_stage_saves_gates_that_load_and_repeats_itself(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = base(tmp_path_factory.getbasetemp() / "tiny-flux")
    train = lambda: stage.train(root, PARAMS, models, SHIPPED.pool, TOKENS, lambda *_: None)  # noqa: E731
    digest = train()
    written = read_digest(root, "fusion")
    assert (written["sha256"], written["adapters"], written["left_out"]) == (digest, 2, 1)
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    assert fusion.hash_weights(gates) == written["weights"]
    files = sorted(path for path in (root / "data/fusion").iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    assert not (root / "cache/fusion_training.pt").exists()
    (root / "digests/fusion.json").unlink()  # as if the stage had been killed before writing it
    assert train() == digest
    assert [path.stat().st_mtime_ns for path in files] == times


def test_the_profiles_settings_train_in_bfloat16(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    profile = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml")
    params = replace(profile.fusion, steps=2, image_size=32)
    models = replace(base(tmp_path_factory.getbasetemp() / "tiny-flux"), dtype=profile.models.dtype)
    losses: list[float] = []
    stage.train(root, params, models, profile.pool, TOKENS, lambda done, steps, loss: losses.append(loss))
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    untrained = fusion.build(CONFIG, params.variant).state_dict()
    assert all(torch.isfinite(value).all() for value in gates.state_dict().values())
    assert any(not torch.equal(value, untrained[name]) for name, value in gates.state_dict().items())
    assert len(losses) == 2 and all(0 < loss < 100 for loss in losses)


def test_without_a_training_lock_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro dataset"):
        stage.train(tmp_path, PARAMS, SHIPPED.models, SHIPPED.pool, TOKENS, lambda *_: None)
