"""Pretrained encoders: folders, compact storage, model cards, and what does not fit."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from autolora import models
from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import Encoder
from autolora.encoder.pretrained import load_pretrained, save_pretrained
from autolora.encoder.tags import TagTable
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import AutoLoraError, MismatchError, MissingArtifact
from autolora.matching.language import Language, LanguageMap
from autolora.presets.encoder import ENCODER
from autolora.pretrained.config import LANGUAGE, PATTERNS, TAGS
from autolora.storage.hashes import hash_file
from autolora.text_encoder.clip import load_numpy_text_encoder
from tests.support.pretrained_folder import (
    FACTS,
    SKETCH,
    TRAINING,
    TRANSFORMER,
    flip_byte,
    rewrite_config,
    ridge_encoder,
)


def vectors(encoder: Encoder) -> torch.Tensor:
    """Return the vectors of random adapters."""
    size = len(encoder.config.slots), SKETCH.size, SKETCH.size
    values = torch.randn(20, *size, generator=torch.Generator().manual_seed(1))
    return encoder.embed(values, torch.ones(20, size[0], dtype=torch.bool))


def transformer_config(preset: str) -> EncoderConfig:
    """Return the config of a small transformer, on weights (paper) or on sketches (best)."""
    variant = replace(ENCODER[preset], model="transformer", heads=4, hybrid=False)
    is_sketch = variant.probe == "sketch"
    return EncoderConfig(
        transformer=TRANSFORMER,
        variant=variant,
        width=16,
        sketch_size=SKETCH.size if is_sketch else None,
        sketch_key=SKETCH.key if is_sketch else None,
        text_encoder="",
    )


def test_whole_float32_encoder_is_loaded_exactly(tmp_path: Path, encoder: Encoder) -> None:
    config = save_pretrained(tmp_path / "encoder", encoder, TRAINING, FACTS)
    pretrained = load_pretrained(tmp_path / "encoder")
    assert pretrained.config == config
    assert (config.rank, config.weights_error, config.training) == (None, 0.0, TRAINING)
    assert pretrained.encoder.config == encoder.config
    assert not pretrained.encoder.training and pretrained.pipeline is None
    loaded = pretrained.encoder.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in encoder.state_dict().items())


def test_tags_go_with_the_encoder(tmp_path: Path, encoder: Encoder) -> None:
    tags = TagTable(("cat", "dog"), np.eye(2, dtype=np.float32), np.array([1.0, 0.0]))
    folder = tmp_path / "encoder"
    config = save_pretrained(folder, encoder, TRAINING, FACTS, tags=tags)
    assert config.files[TAGS] == hash_file(folder / TAGS)
    pretrained = load_pretrained(folder)
    assert (
        pretrained.tags is not None
        and pretrained.tags.texts == ("cat", "dog")
        and pretrained.pipeline is None
    )
    (folder / TAGS).write_bytes(b"damaged")
    with pytest.raises(MissingArtifact, match=r"tags.safetensors is damaged"):
        load_pretrained(folder)
    save_pretrained(folder, encoder, TRAINING, FACTS)
    assert load_pretrained(folder).tags is None and not (folder / TAGS).exists()


def test_the_language_goes_with_the_encoder(tmp_path: Path, encoder: Encoder) -> None:
    means, matrix = np.zeros(2, np.float32), np.eye(2, dtype=np.float32)
    language = Language("model", LanguageMap(means, means, matrix), np.ones((2, 4)), 1.0, 0.1)
    folder = tmp_path / "encoder"
    config = save_pretrained(folder, encoder, TRAINING, FACTS, language=language)
    assert config.files[LANGUAGE] == hash_file(folder / LANGUAGE)
    loaded = load_pretrained(folder).language
    assert loaded is not None and loaded.digest == language.digest
    assert LANGUAGE in PATTERNS, "or it would not be uploaded"
    save_pretrained(folder, encoder, TRAINING, FACTS)
    assert load_pretrained(folder).language is None and not (folder / LANGUAGE).exists()


@pytest.mark.parametrize("preset", ["paper", "best"])
def test_transformer_is_loaded_as_it_was_stored(tmp_path: Path, preset: str) -> None:
    trained = TransformerEncoder(transformer_config(preset)).eval()
    save_pretrained(tmp_path / "encoder", trained, TRAINING, FACTS)
    loaded = load_pretrained(tmp_path / "encoder").encoder
    pairs = zip(loaded.state_dict().items(), trained.state_dict().items(), strict=True)
    assert all(a == b and x.equal(y) for (a, x), (b, y) in pairs if a != "relevance")
    if preset == "best":
        torch.testing.assert_close(vectors(loaded), vectors(trained), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "rank", "stored_rank", "distance", "share"),
    [
        ("float16", None, None, 1e-5, 0.51),
        ("float32", 64, 5, 1e-11, 0.40),
        ("float16", 64, 5, 1e-5, 0.22),
        ("int8", 64, 5, 1e-3, 0.15),
        ("float16", 4, 4, 0.5, 0.20),
    ],
)
def test_compact_encoder_gives_nearly_the_same_vectors(
    tmp_path: Path, encoder: Encoder, dtype: Any, rank: int | None, stored_rank: int | None, distance: float,
    share: float,
) -> None:  # fmt: skip
    """share: of the bytes of the whole weights in float32, an upper limit."""
    config = save_pretrained(tmp_path / "encoder", encoder, TRAINING, FACTS, dtype=dtype, rank=rank)
    loaded = load_pretrained(tmp_path / "encoder").encoder
    cosines = torch.cosine_similarity(vectors(encoder).double(), vectors(loaded).double())
    assert 1 - float(cosines.min()) < distance
    assert config.rank == stored_rank
    whole = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    assert (tmp_path / "encoder/model.safetensors").stat().st_size < share * whole
    errors = [
        float((loaded.state_dict()[name] - tensor).norm() / tensor.norm())
        for name, tensor in encoder.state_dict().items()
        if tensor.dtype == torch.float32 and tensor.any()
    ]
    assert config.weights_error == pytest.approx(max(errors))
    assert torch.equal(loaded.relevance, encoder.relevance)


def test_rank_and_int8_that_do_not_apply_are_errors(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(MismatchError, match="this encoder is a transformer: leave it out"):
        save_pretrained(
            tmp_path / "a", TransformerEncoder(transformer_config("paper")), TRAINING, FACTS, rank=4
        )
    with pytest.raises(MismatchError, match="int8 stores factors, so it needs their rank"):
        save_pretrained(tmp_path / "a", encoder, TRAINING, FACTS, dtype="int8")
    large = ridge_encoder("digest")
    large.mean.fill_(1e6)
    with pytest.raises(MismatchError, match="tensor mean has values that are too large for float16"):
        save_pretrained(tmp_path / "a", large, TRAINING, FACTS, dtype="float16")
    assert not (tmp_path / "a").exists()


def test_pipeline_beside_the_encoder_is_its_text_encoder(folder: Path, base: models.ModelsParams) -> None:
    pretrained = load_pretrained(folder)
    assert pretrained.pipeline == folder / "pipeline"
    own = replace(base, pipeline=str(pretrained.pipeline))
    assert models.load_text_encoder(own).digest == pretrained.encoder.config.text_encoder
    assert models.transformer_config(own) == models.transformer_config(base)
    names = {path.name for path in (folder / "pipeline").iterdir()}
    assert names == {"text_encoder", "tokenizer", "tokenizer.json", "transformer"}


def test_the_text_encoder_beside_the_encoder_needs_no_transformers(
    folder: Path, base: models.ModelsParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = load_pretrained(folder)
    own = replace(base, pipeline=str(pretrained.pipeline))
    expected = models.load_text_encoder(own).encode(["a cat"])
    monkeypatch.setitem(sys.modules, "transformers", None)
    text_encoder = load_numpy_text_encoder(tmp_path, own, pretrained.tokenizers)
    assert np.allclose(text_encoder.encode(["a cat"]), expected, atol=1e-5)
    with pytest.raises(MissingArtifact, match="transformers"):
        load_numpy_text_encoder(tmp_path, own)


def test_pipeline_with_another_text_encoder_changes_nothing(folder: Path, base: models.ModelsParams) -> None:
    with pytest.raises(MismatchError, match="trained with a different text encoder than that of models"):
        save_pretrained(folder, ridge_encoder("other"), TRAINING, FACTS, pipeline=base)
    assert load_pretrained(folder).pipeline is not None


def test_card_states_training_set_metrics_and_license(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "black-forest-labs/FLUX.1-dev"
    assert card.data.library_name == "autolora"
    assert "autolora-encoder" in card.data.tags
    for text in (
        "5 adapters of 4 families", "first seen up to 2026-01-05", "| cc-by-nc-4.0 | 2 |",
        "| 0.75 | 0.59 to 0.89 | 240 | 2026-01-06 |", "Weights in float16", "rank 5", "from: ann/encoder",
    ):  # fmt: skip
        assert text in card.text
    assert "both adapters" not in card.text


def test_card_without_metrics_or_training_set_says_so(tmp_path: Path, encoder: Encoder) -> None:
    unknown = replace(TRAINING, adapters=0, families=0, train_until=None, licenses={})
    save_pretrained(tmp_path / "encoder", encoder, unknown, replace(FACTS, metrics={}, base_model=None))
    card = (tmp_path / "encoder/README.md").read_text()
    assert "Not measured." in card and "Unknown: the model was imported" in card
    assert "base_model:" not in card


def test_license_of_a_hub_stays_one_cell(tmp_path: Path, encoder: Encoder) -> None:
    training = replace(TRAINING, licenses={"mit | 9 |\n# free": 5})
    save_pretrained(tmp_path / "encoder", encoder, training, FACTS)
    assert "| mit \\| 9 \\| # free | 5 |\n" in (tmp_path / "encoder/README.md").read_text()


def test_folder_with_other_content_is_left_alone(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MismatchError, match="is not empty and does not hold a pretrained encoder"):
        save_pretrained(tmp_path, encoder, TRAINING, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_earlier_encoder_is_replaced(folder: Path, encoder: Encoder) -> None:
    save_pretrained(folder, encoder, TRAINING, FACTS)
    assert load_pretrained(folder).pipeline is None
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingArtifact, match="give a folder that can be written"):
        save_pretrained(tmp_path / "file/encoder", encoder, TRAINING, FACTS)


DAMAGE: dict[str, tuple[Callable[[Path], object], type[AutoLoraError], str]] = {
    "no config": (
        lambda path: (path / "config.json").unlink(), MissingArtifact, r"contains no config.json, so it does not hold",
    ),
    "no JSON": (
        lambda path: (path / "config.json").write_text("{"), MissingArtifact, "is not the config of a pretrained",
    ),
    "a stage's encoder": (
        lambda path: (path / "config.json").write_text('{"width": 16}'), MissingArtifact, "publish encoder FOLDER",
    ),
    "unknown field": (
        lambda path: rewrite_config(path, lambda c: c.update(extra=1)), MissingArtifact, "is not the config",
    ),
    "no sha256": (
        lambda path: rewrite_config(path, lambda c: c.update(files=["model.safetensors"])), MissingArtifact,
        "must map names to sha256",
    ),
    "a number as sha256": (
        lambda path: rewrite_config(path, lambda c: c["files"].update({"model.safetensors": 1})), MissingArtifact,
        "must map names to sha256",
    ),
    "path outside": (
        lambda path: rewrite_config(path, lambda c: c["files"].update({"pipeline/../../x": "0"})), MissingArtifact,
        "otherwise files in pipeline/",
    ),
    "other layout": (
        lambda path: rewrite_config(path, lambda c: c.update(schema=99)), MismatchError,
        "has layout 99, but this version of AutoLoRA reads layout 1",
    ),
    "other kind": (
        lambda path: rewrite_config(path, lambda c: c.update(kind="gates")), MismatchError,
        "holds pretrained gates, expected a pretrained encoder",
    ),
    "other model": (
        lambda path: rewrite_config(path, lambda c: c["model"].update(width=32)), MismatchError,
        "do not fit the config.json beside them",
    ),
    "no weights": (
        lambda path: (path / "model.safetensors").unlink(), MissingArtifact, "model.safetensors is missing, but config",
    ),
    "damaged weights": (
        lambda path: flip_byte(path / "model.safetensors"), MissingArtifact, "model.safetensors is damaged",
    ),
    "damaged tokenizer": (
        lambda path: flip_byte(path / "pipeline/tokenizer/tokenizer.json"), MissingArtifact,
        "tokenizer.json is damaged",
    ),
    "other text encoder": (
        lambda path: rewrite_config(path, lambda c: c["model"].update(text_encoder="x" * 64)), MismatchError,
        "different text encoder than the one in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folder_is_an_error_that_says_what_to_do(folder: Path, name: str) -> None:
    damage, kind, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(kind, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("source", ["./nothing", "~/nothing", "nothing", Path("some/folder")])
def test_source_that_is_neither_folder_nor_id_is_an_error(source: str | Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"neither an existing folder nor a Hugging Face id \(owner/name\)"
    ):
        load_pretrained(source)


def test_wrong_base_sketch_or_text_encoder_is_an_error(folder: Path) -> None:
    pretrained = load_pretrained(folder)
    text_encoder = pretrained.encoder.config.text_encoder
    pretrained.check_fits({**TRANSFORMER, "guidance_embeds": True}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"for another base model \(.*num_layers 1, .*, but .* num_layers 19"
    ):
        pretrained.check_fits(TRANSFORMER | {"num_layers": 19}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"reads sketches of the kind .*/8, but the pool has .*/32: set pool.sk"
    ):
        pretrained.check_fits(TRANSFORMER, text_encoder, 32)
    with pytest.raises(MismatchError, match=r"different text encoder \(digest .* set models.pipeline"):
        pretrained.check_fits(TRANSFORMER, "another digest", SKETCH.size)
