"""The stage: from the training lock to gates on disk, from which gates it starts, and what it keeps in files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from autolora.captions.store import captions_path
from autolora.dataset.store import TRAINING_LOCK
from autolora.errors import MissingArtifact
from autolora.fusion import examples, stage
from autolora.fusion import store as fusion
from autolora.fusion.training_state import TrainingState
from autolora.lora.slots import slots
from autolora.params import FusionParams, ModelsParams, load
from autolora.pool.store import rendering_path, weights_path
from autolora.records import Caption
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_file
from autolora.storage.incremental import read_digest
from tests.support.gate_training import SHIPPED, fusion_params
from tests.support.tiny_flux import CONFIG, TOKENS, random_lora, save_peft, save_pipeline

PARAMS = fusion_params(global_rank=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with five adapters in the training lock, all but one with captioned images: two to train on
    beside it, and two of the validation split."""
    rows = []
    captions = []
    for seed in range(5):
        file = save_peft(random_lora(seed), tmp_path / "adapter.safetensors")
        weights = weights_path(tmp_path, hash_file(file))
        weights.parent.mkdir(parents=True, exist_ok=True)
        file.rename(weights)
        Image.new("RGB", (40, 48), (50 * seed, 20, 90)).save(tmp_path / "image.png")
        image = rendering_path(tmp_path, hash_file(tmp_path / "image.png"))
        image.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "image.png").rename(image)
        rows.append(
            {
                "sha256": weights.stem,
                "family": weights.stem,
                "split": "train" if seed < 3 else "validation",
                "renderings": [image.stem],
            }
        )
        captions += [
            Caption(image=image.stem, prompt="p", vlm="v", length=length, text=f"{length} image {seed}")
            for length in ("short", "long")
            if seed != 2
        ]
    write_rows(tmp_path / TRAINING_LOCK, [{"train_until": "2026-01-01"}, *rows])
    write_rows(captions_path(tmp_path), [caption_row(caption) for caption in captions])
    return tmp_path


def caption_row(caption: Caption) -> dict[str, str]:
    return {name: getattr(caption, name) for name in caption.__slots__}


def base(folder: Path) -> ModelsParams:
    return replace(SHIPPED.models, pipeline=str(save_pipeline(folder)), threads=1)


def leave_out(root: Path, split: str) -> None:
    """Remove a split from the training lock."""
    lock = root / TRAINING_LOCK
    lock.write_text("".join(line for line in lock.read_text().splitlines(True) if split not in line))


def train(root: Path, params: FusionParams, models: ModelsParams) -> TrainingState:
    return stage.train(root, params, models, SHIPPED.pool, TOKENS, lambda *_: None)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsParams:
    return base(tmp_path_factory.mktemp("base") / "tiny-flux")


@pytest.mark.slow
def test_stage_saves_gates_that_load_and_repeats_itself(root: Path, models: ModelsParams) -> None:
    params = replace(PARAMS, validate_every=3)
    state = train(root, params, models)
    written = read_digest(root, "fusion")
    assert (written["adapters"], written["left_out"], written["best_step"]) == (2, 1, state.best_step)
    assert written["held_out_loss"] == {str(step): round(loss, 6) for step, loss in state.held_out}
    assert [step for step, _ in state.held_out] == [0, 3, 6]
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    assert fusion.hash_weights(gates) == written["weights"]
    files = sorted(path for path in (root / "data/fusion").iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    assert not (root / "cache/fusion_training.pt").exists()
    (root / "digests/fusion.json").unlink()  # as if the stage had been killed before writing it
    train(root, params, models)
    assert read_digest(root, "fusion") == written
    assert [path.stat().st_mtime_ns for path in files] == times


@pytest.mark.slow
def test_scalar_gates_are_trained_and_load(root: Path, models: ModelsParams) -> None:
    params = fusion_params(gate="scalar", global_rank=0, steps=2)
    train(root, params, models)
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    untrained = fusion.build(CONFIG, params.variant).state_dict()
    assert gates.variant.gate == "scalar"
    assert gates.state_dict().keys() == untrained.keys()


@pytest.mark.slow
def test_text_encoders_run_once_per_caption(
    root: Path, models: ModelsParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = examples.encode_captions
    monkeypatch.setattr(
        examples,
        "encode_captions",
        lambda pipeline, texts, tokens: encoded.extend(texts) or encode(pipeline, texts, tokens),
    )
    first = train(root, PARAMS, models)
    assert encoded and len(encoded) == len(set(encoded)) <= 8
    encoded.clear()
    again = train(root, replace(PARAMS, relevance_noise=0.1), models)
    assert encoded == []
    assert again.losses[0] == pytest.approx(first.losses[0], rel=0.1)
    for file in (root / "cache/fusion_texts").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert train(root, PARAMS, models).losses == first.losses
    assert len(encoded) > 0


@pytest.mark.slow
def test_without_validation_adapters_all_steps_are_trained(
    root: Path, models: ModelsParams, caplog: pytest.LogCaptureFixture
) -> None:
    unasked = train(root, replace(PARAMS, validate_every=None), models)
    assert caplog.text.count("held-out") == 0
    leave_out(root, "validation")
    missing = train(root, PARAMS, models)
    assert "no two adapters to measure a held-out loss with" in caplog.text
    for state in (unasked, missing):
        assert (state.held_out, len(state.losses), state.best_step) == ([], PARAMS.steps, PARAMS.steps)
    assert missing.losses == unasked.losses


def test_the_profiles_settings_train_in_bfloat16(root: Path, models: ModelsParams) -> None:
    profile = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml")
    params = replace(profile.fusion, steps=2, image_size=32)
    leave_out(root, "validation")
    models = replace(models, dtype=profile.models.dtype)
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


def test_a_state_continues_only_a_training_with_equal_precision_and_texts(
    root: Path, models: ModelsParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def record(path: Path, key: str) -> None:
        keys.append(key)
        raise InterruptedError

    monkeypatch.setattr(stage, "Checkpoint", record)
    for base, tokens in (
        (models, TOKENS),
        (models, TOKENS),
        (replace(models, dtype="bfloat16"), TOKENS),
        (models, 4),
    ):
        with pytest.raises(InterruptedError):
            stage.train(root, fusion_params(), base, SHIPPED.pool, tokens, lambda *_: None)
    assert keys[0] == keys[1] and len(set(keys)) == 3
