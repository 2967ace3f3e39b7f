"""Training the encoder: it learns, repeats itself, and goes to disk and back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder import training
from autolora.errors import MismatchError, MissingArtifact
from autolora.models import ClipTextEncoder
from autolora.pool.store import load_sketch
from autolora.presets import ENCODER as ENCODERS
from autolora.storage.incremental import read_digest
from tests.support.synthetic_repo import (
    BOUNDS,
    CONFIG,
    DATASET,
    ENCODER,
    Made,
    fabricate_lora,
    make_pool,
    state,
    text_tower,
    write_dataset,
    write_encoder,
    write_index,
    write_root,
    write_weights,
)


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> ClipTextEncoder:
    """Draw a text tower."""
    return text_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tower: ClipTextEncoder) -> tuple[Path, list[Made], str]:
    """Train once on six themes by three authors; return root, adapters and digest."""
    root = tmp_path_factory.mktemp("trained")
    made = make_pool()
    write_root(root, made)
    write_dataset(root)
    return root, made, write_encoder(root, tower)


@pytest.fixture
def copied(tmp_path: Path, trained: tuple[Path, list[Made], str]) -> Path:
    """Return a root of one's own with the trained encoder in it."""
    shutil.copytree(trained[0], tmp_path / "root")
    return tmp_path / "root"


def test_unseen_adapters_are_found_by_their_captions(
    trained: tuple[Path, list[Made], str], tower: ClipTextEncoder
) -> None:
    root, made, _ = trained
    encoder = encoder_store.load_encoder(root / "data" / "encoder")
    sketches = [load_sketch(root, one.sha256) for one in made]
    vectors = encoder.embed(
        torch.stack([s.values for s in sketches]), torch.stack([s.present for s in sketches])
    )
    themes = {one.sha256: one.theme for one in made}
    prompts = dataset.prompts(root)
    assert prompts
    texts = encoder.embed_text(tower.encode([prompt.text for prompt in prompts]))
    nearest = (texts @ vectors.T).argmax(1).tolist()
    right = [
        made[place].theme == themes[prompt.adapter] for place, prompt in zip(nearest, prompts, strict=True)
    ]
    assert sum(right) / len(right) > 0.8  # chance is 1/6


def test_same_inputs_give_the_same_weights(
    copied: Path, trained: tuple[Path, list[Made], str], tower: ClipTextEncoder
) -> None:
    before = state(copied)
    assert write_encoder(copied, tower) == trained[2]
    assert state(copied) == before
    assert write_encoder(copied, tower, replace(ENCODER, seed=1, steps=2)) != trained[2]


def test_steps_are_told_and_the_loss_falls(
    trained: tuple[Path, list[Made], str], tower: ClipTextEncoder
) -> None:
    root, _, _ = trained
    learned = training.examples(root)
    encoder = training.build(root, ENCODER, CONFIG, tower)
    read = encoder_store.reader(root, encoder.config, BOUNDS)
    steps = list(training.fit(encoder, learned, read, tower, ENCODER))
    assert [step.number for step in steps] == list(range(1, ENCODER.steps + 1))
    assert sum(step.loss for step in steps[-5:]) < 0.7 * sum(step.loss for step in steps[:5])


@pytest.mark.parametrize("preset", ENCODERS)
@pytest.mark.parametrize("probe", ["sketch", "full"])
def test_every_preset_trains_and_embeds_by_sketch_and_by_weights(
    copied: Path, trained: tuple[Path, list[Made], str], tower: ClipTextEncoder, preset: str, probe: str
) -> None:
    params = replace(ENCODER, preset=preset, probe=probe, probes=None, steps=4)
    if probe == "full":
        with pytest.raises(MissingArtifact, match="single-item pool"):
            write_encoder(copied, tower, params)
        write_weights(copied, trained[1])
    first = write_encoder(copied, tower, params)
    assert write_encoder(copied, tower, params) == first
    config = encoder_store.load_encoder(copied / "data" / "encoder").config
    assert (config.probe, config.form) == (probe, ENCODERS[preset])
    assert write_index(copied)["embedded"] == len(trained[1])


def test_a_form_that_refuses_partial_adapters_learns_from_the_others(
    copied: Path, trained: tuple[Path, list[Made], str], tower: ClipTextEncoder
) -> None:
    made = [
        replace(one, lora=fabricate_lora(one.theme, one.author, skip=("norm",) if one.author else ()))
        for one in trained[1]
    ]
    write_root(copied, made)
    write_dataset(copied)
    refusing = replace(ENCODER, preset="released", absent="refuse", steps=2)
    write_encoder(copied, tower, refusing)
    assert read_digest(copied, "encoder")["adapters"] < len(training.examples(copied))
    with pytest.raises(MismatchError, match=r"absent is .refuse."):
        write_index(copied)


def test_learns_from_the_training_side_only(trained: tuple[Path, list[Made], str]) -> None:
    root, _, _ = trained
    learned = {example.sha256 for example in training.examples(root)}
    assert learned == {row.sha256 for row in dataset.training(root).of("train")}
    assert read_digest(root, "encoder")["adapters"] == len(learned)


def test_withdrawn_adapters_are_left_out_of_the_next_training(
    copied: Path, trained: tuple[Path, list[Made], str]
) -> None:
    gone = dataset.training(copied).of("train")[0].sha256
    write_root(copied, [one for one in trained[1] if one.sha256 != gone])
    write_dataset(copied)
    assert gone in {row.sha256 for row in dataset.training(copied).rows}
    assert gone not in {example.sha256 for example in training.examples(copied)}


def test_nothing_to_learn_from_says_what_to_do(copied: Path, trained: tuple[Path, list[Made], str]) -> None:
    learned = {row.sha256 for row in dataset.training(copied).of("train")}
    write_root(copied, [one for one in trained[1] if one.sha256 not in learned])
    write_dataset(copied)
    with pytest.raises(MissingArtifact, match="train_until"):
        training.examples(copied)


def test_center_is_the_mean_of_training_texts(copied: Path, tower: ClipTextEncoder) -> None:
    assert encoder_store.load_encoder(copied / "data" / "encoder").text_center.norm() > 0
    write_encoder(copied, tower, replace(ENCODER, center=False, steps=2))
    assert encoder_store.load_encoder(copied / "data" / "encoder").text_center.norm() == 0


def test_parts_that_do_not_fit_are_named(copied: Path, tower: ClipTextEncoder) -> None:
    with pytest.raises(MismatchError, match=r"heads is 5"):
        training.build(copied, replace(ENCODER, heads=5), CONFIG, tower)
    with pytest.raises(MismatchError, match="slots"):
        training.build(copied, ENCODER, CONFIG | {"num_layers": 2}, tower)


def test_missing_or_damaged_encoder_is_named(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro encoder"):
        encoder_store.load_encoder(tmp_path)
    place = copied / "data" / "encoder"
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"layers": 7}))
    with pytest.raises(MismatchError, match="differ"):
        encoder_store.load_encoder(place)
    (place / "config.json").write_text("{}")
    with pytest.raises(MissingArtifact):
        encoder_store.load_encoder(place)


def test_the_lock_is_all_that_decides(trained: tuple[Path, list[Made], str]) -> None:
    assert dataset.training(trained[0]).train_until == DATASET.train_until
