"""Training the encoder: it learns, repeats itself, and is saved and loaded."""

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
from autolora.presets import Preset
from autolora.presets.encoder import ENCODER as PRESETS
from autolora.presets.encoder import Model, Probe
from autolora.storage.incremental import read_digest
from tests.support.synthetic_repo import (
    BOUNDS,
    CONFIG,
    ENCODER,
    SyntheticAdapter,
    encoder_params,
    file_states,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
    write_weights,
)

Trained = tuple[Path, list[SyntheticAdapter], str]
"""repository, its adapters, and the encoder's digest"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder) -> Trained:
    """Train on adapters of six themes by three authors."""
    root = tmp_path_factory.mktemp("trained")
    adapters = make_adapters()
    write_repository(root, adapters)
    write_dataset(root)
    return root, adapters, write_encoder(root, text_encoder)


@pytest.fixture
def copied(tmp_path: Path, trained: Trained) -> Path:
    """Return a copy of the repository with the trained encoder."""
    shutil.copytree(trained[0], tmp_path / "root")
    return tmp_path / "root"


def test_captions_of_unseen_adapters_retrieve_adapters_of_their_theme(
    trained: Trained, text_encoder: ClipTextEncoder
) -> None:
    root, adapters, _ = trained
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    sketches = [load_sketch(root, adapter.sha256) for adapter in adapters]
    vectors = encoder.embed(
        torch.stack([sketch.values for sketch in sketches]),
        torch.stack([sketch.present for sketch in sketches]),
    )
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    prompts = dataset.prompts(root)
    assert prompts
    texts = encoder.text_map(torch.from_numpy(text_encoder.encode([prompt.text for prompt in prompts])))
    nearest = (texts @ vectors.T).argmax(1).tolist()
    correct = [
        adapters[index].theme == themes[prompt.adapter]
        for index, prompt in zip(nearest, prompts, strict=True)
    ]
    assert sum(correct) / len(correct) > 0.8  # chance is 1/6


@pytest.mark.slow
def test_same_inputs_give_the_same_weights(
    copied: Path, trained: Trained, text_encoder: ClipTextEncoder
) -> None:
    before = file_states(copied)
    assert write_encoder(copied, text_encoder) == trained[2]
    assert file_states(copied) == before
    assert write_encoder(copied, text_encoder, replace(ENCODER, seed=1)) != trained[2]


@pytest.mark.slow
def test_yields_every_step_and_the_loss_falls(trained: Trained, text_encoder: ClipTextEncoder) -> None:
    root, _, _ = trained
    examples = training.load_examples(root)
    encoder = training.build(root, ENCODER, CONFIG, text_encoder)
    read = encoder_store.reader(root, encoder.config, BOUNDS)
    steps = list(training.fit(encoder, examples, read, text_encoder, ENCODER))
    assert [step.number for step in steps] == list(range(1, ENCODER.variant.steps + 1))
    assert sum(step.values["loss"] for step in steps[-5:]) < 0.7 * sum(
        step.values["loss"] for step in steps[:5]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "probe"),
    [
        (preset, probe)
        for preset in PRESETS
        for probe in ("sketch", "full")
        if (preset, probe) != ("best", "full")
    ],
)
def test_every_preset_trains_and_embeds_with_both_probes(
    copied: Path, trained: Trained, text_encoder: ClipTextEncoder, preset: Preset, probe: Probe
) -> None:
    params = encoder_params(preset, probe=probe, steps=4)
    if probe == "full":
        with pytest.raises(MissingArtifact, match="autolora verify"):
            write_encoder(copied, text_encoder, params)
        write_weights(copied, trained[1])
    first = write_encoder(copied, text_encoder, params)
    assert write_encoder(copied, text_encoder, params) == first
    config = encoder_store.load_encoder(encoder_store.folder(copied)).config
    assert config.variant == params.variant
    assert write_index(copied, text_encoder=text_encoder)["embedded"] == len(trained[1])


def test_trains_on_the_training_split_only(trained: Trained) -> None:
    root, _, _ = trained
    used = {example.sha256 for example in training.load_examples(root)}
    assert used == {row.sha256 for row in dataset.training_lock(root).in_split("train")}
    assert read_digest(root, "encoder")["adapters"] == len(used)


def test_withdrawn_adapters_are_not_used_in_the_next_training(copied: Path, trained: Trained) -> None:
    withdrawn = dataset.training_lock(copied).in_split("train")[0].sha256
    write_repository(copied, [adapter for adapter in trained[1] if adapter.sha256 != withdrawn])
    write_dataset(copied)
    assert withdrawn in {row.sha256 for row in dataset.training_lock(copied).rows}
    assert withdrawn not in {example.sha256 for example in training.load_examples(copied)}


def test_without_training_examples_the_error_names_train_until(copied: Path, trained: Trained) -> None:
    used = {row.sha256 for row in dataset.training_lock(copied).in_split("train")}
    write_repository(copied, [adapter for adapter in trained[1] if adapter.sha256 not in used])
    write_dataset(copied)
    with pytest.raises(MissingArtifact, match="train_until"):
        training.load_examples(copied)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", "ridge"])
def test_text_map_is_fitted_as_the_variant_says(
    copied: Path, text_encoder: ClipTextEncoder, model: Model
) -> None:
    folder, maps = encoder_store.folder(copied), {}
    for mapping in ("none", "center", "whiten"):
        write_encoder(
            copied, text_encoder, encoder_params(model=model, steps=2, text_map=mapping, hybrid=False)
        )
        maps[mapping] = encoder_store.load_encoder(folder).text_map
    identity = torch.eye(text_encoder.width)
    assert maps["none"].center.norm() == 0 < maps["center"].center.norm()
    assert torch.equal(maps["none"].matrix, identity) and torch.equal(maps["center"].matrix, identity)
    assert torch.equal(maps["whiten"].center, maps["center"].center)
    assert not torch.allclose(maps["whiten"].matrix, identity)


def test_heads_and_base_models_that_do_not_fit_are_errors(
    copied: Path, text_encoder: ClipTextEncoder
) -> None:
    with pytest.raises(MismatchError, match=r"has 5 heads"):
        training.build(
            copied, encoder_params(model="transformer", hybrid=False, heads=5), CONFIG, text_encoder
        )
    with pytest.raises(MismatchError, match="slots"):
        training.build(copied, ENCODER, CONFIG | {"num_layers": 2}, text_encoder)


def test_missing_and_damaged_encoders_are_errors(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro encoder"):
        encoder_store.load_encoder(tmp_path)
    folder = encoder_store.folder(copied)
    config = json.loads((folder / "config.json").read_text())
    other = config | {"variant": config["variant"] | {"layers": 7}}
    (folder / "config.json").write_text(json.dumps(other))
    with pytest.raises(MismatchError, match="do not fit"):
        encoder_store.load_encoder(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(MissingArtifact):
        encoder_store.load_encoder(folder)
