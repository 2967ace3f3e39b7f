"""Sentence encoders: the vectors of sentence-transformers, prompts, and copies that a search reads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from autolora.errors import MismatchError, MissingArtifact, MissingLibrary, ParamsError
from autolora.text_encoder.bert import Bert
from autolora.text_encoder.sentence_folder import locate_sentence_encoder
from autolora.text_encoder.sentences import (
    SentenceEncoder,
    load_saved,
    open_sentence_encoder,
    save_sentence_encoder,
)
from autolora.text_encoder.torch_network import TorchNetwork
from tests.text_encoder.sentence_models import (
    MINILM,
    TEXTS,
    TOKENS,
    edit_json,
    reference,
    varied_texts,
    write_model,
)

ROOT = Path(__file__).parents[2]
ROUNDING = 2e-6
"""of sums in another order, as BLAS libraries make them for other shapes; how much depends on the processor"""
FAMILY = ("bert", "roberta", "xlm-roberta", "camembert")


def opened(folder: Path) -> SentenceEncoder:
    return open_sentence_encoder(folder, str(folder), None, folder.parent / "cache")


def assert_equal_to_reference(folder: Path, **prompt: str) -> SentenceEncoder:
    """Assert that the vectors are those of sentence-transformers, and return the encoder."""
    encoder = opened(folder)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), encoder.width)
    read = [encoder.read(text) for text in TEXTS]
    np.testing.assert_allclose(vectors, reference(folder, read, **prompt), rtol=0, atol=ROUNDING)
    return encoder


@pytest.mark.slow
def test_vectors_of_an_installed_model_equal_those_of_sentence_transformers(tmp_path: Path) -> None:
    texts = varied_texts()
    encoder = open_sentence_encoder(ROOT, MINILM, None, tmp_path)
    vectors = encoder.encode(texts)
    read = [encoder.read(text) for text in texts]
    expected = reference(locate_sentence_encoder(ROOT, MINILM, None), read)
    assert len(texts) >= 200 and encoder.width == 384
    is_read = np.array([bool(left or not text.strip()) for text, left in zip(texts, read, strict=True)])
    assert not vectors[~is_read].any() and is_read.mean() > 0.7
    np.testing.assert_allclose(vectors[is_read], expected[is_read], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(vectors[is_read], axis=1), 1, rtol=0, atol=1e-6)
    alone = [encoder.encode([text])[0] for text in texts[::20]]
    np.testing.assert_allclose(vectors[::20], alone, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("❄️Frosted🎄 café, 毛 x", "Frosted  café,   x"),
        ("😂🎄", ""),
        ("A watercolour of a Grey armoured theatre", "A watercolor of a Gray armored theater"),
        ("stylised, organising, analysed colours", "stylized, organizing, analyzed colors"),
        ("calibre in metres", "caliber in meters"),
        *((same, same) for same in ("four hours of flour", "promise, paradise", "an acre", "greyhound", "")),
    ],
)  # fmt: skip
def test_texts_are_read_without_unknown_characters_and_in_one_spelling(
    tmp_path: Path, text: str, read: str
) -> None:
    encoder = open_sentence_encoder(ROOT, MINILM, None, tmp_path)
    assert encoder.read(text) == read
    (vector,), (expected,) = encoder.encode([text]), encoder.encode([read])
    assert np.array_equal(vector, expected) if read or not text else not vector.any()


@pytest.mark.slow
def test_synonyms_are_nearer_than_other_texts(tmp_path: Path) -> None:
    encoder = open_sentence_encoder(ROOT, MINILM, None, tmp_path)
    cat, kitten, law = encoder.encode(["a red cat", "a crimson kitten", "the law on taxes"])
    assert cat @ kitten > 0.5 > 0.2 > cat @ law


@pytest.mark.parametrize("model_type", FAMILY)
def test_the_family_of_bert_runs_without_torch(tmp_path: Path, model_type: str) -> None:
    assert isinstance(assert_equal_to_reference(write_model(tmp_path, model_type)).network, Bert)


@pytest.mark.parametrize("model_type", ["mpnet", "distilbert"])
def test_other_models_run_in_torch(tmp_path: Path, model_type: str) -> None:
    encoder = assert_equal_to_reference(write_model(tmp_path, model_type))
    assert isinstance(encoder.network, TorchNetwork)
    with pytest.raises(ParamsError, match=r"needs torch, so that it cannot be stored.*one of bert, roberta"):
        save_sentence_encoder(encoder, tmp_path / "saved")


def test_other_models_name_the_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path, "mpnet")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingLibrary, match=r"model_type is 'mpnet', needs transformers"):
        opened(folder)


def test_a_type_that_transformers_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    edit_json(folder / "config.json", model_type="nobert")
    with pytest.raises(MissingArtifact, match=r"cannot load .*nobert"):
        opened(folder)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_states_are_pooled_as_the_config_says(tmp_path: Path, pooling: str, normalize: bool) -> None:
    assert_equal_to_reference(write_model(tmp_path, "roberta", pooling, normalize=normalize))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_may_have_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = write_model(tmp_path)
    path = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert_equal_to_reference(folder)


def test_names_with_a_prefix_and_stored_positions_are_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    before = opened(folder).encode(TEXTS)
    path = folder / "model.safetensors"
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"bert.embeddings.position_ids": torch.arange(TOKENS)[None]}, path)
    np.testing.assert_array_equal(opened(folder).encode(TEXTS), before)


@pytest.mark.parametrize("max_seq_length", [3, 8, TOKENS])
def test_texts_are_cut_at_the_stated_number_of_tokens(tmp_path: Path, max_seq_length: int) -> None:
    folder = write_model(tmp_path)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=max_seq_length)
    encoder = assert_equal_to_reference(folder)
    long, longer = (encoder.encode(["a b c d e f g h i j k " * times]) for times in (3, 4))
    np.testing.assert_array_equal(long, longer)


def test_a_limit_above_the_number_of_positions_is_lowered(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "roberta")
    edit_json(folder / "tokenizer_config.json", model_max_length=10**30)
    encoder = opened(folder)
    assert encoder.settings.max_length == TOKENS
    assert np.isfinite(encoder.encode(["a b " * 100])).all()


def test_texts_are_lowered_if_the_config_says_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    assert (opened(folder).encode(["RED"]) != opened(folder).encode(["red"])).any()
    edit_json(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder = assert_equal_to_reference(folder)
    np.testing.assert_array_equal(encoder.encode(["RED"]), encoder.encode(["red"]))


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({"query": "query: ", "document": "passage: "}, None, "query: "),
        ({"query": "query: ", "document": "passage: "}, "document", "query: "),
        ({"topic": "topic: "}, "topic", "topic: "),
        ({"topic": "topic: "}, None, ""),
        ({"query": "", "topic": "topic: "}, "topic", "topic: "),
        ({}, None, ""),
    ],
)
def test_the_prompt_for_queries_comes_before_the_default_one(
    tmp_path: Path, prompts: dict[str, str], default: str | None, expected: str
) -> None:
    folder = write_model(tmp_path, prompts=prompts, default_prompt_name=default)
    assert assert_equal_to_reference(folder, prompt=expected).settings.prompt == expected


def test_no_text_gives_no_vector(tmp_path: Path) -> None:
    assert opened(write_model(tmp_path)).encode([]).shape == (0, 32)


def test_a_text_without_a_token_gives_zeros(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    edit_json(folder / "tokenizer.json", post_processor=None)
    assert not opened(folder).encode([""]).any() and opened(folder).encode(["a"]).any()


def test_other_texts_change_a_vector_by_rounding_at_most(tmp_path: Path) -> None:
    encoder = opened(write_model(tmp_path))
    alone = [encoder.encode([text])[0] for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, rtol=0, atol=ROUNDING)


def test_the_digest_is_that_of_the_files_that_determine_the_vectors(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    digest = opened(folder).digest
    (folder / "README.md").write_text("a model")
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert opened(folder).digest == opened(copy).digest == digest
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode="max")
    edit_json(copy / "config_sentence_transformers.json", prompts={"query": "q "})
    assert len({digest, opened(folder).digest, opened(copy).digest}) == 3


@pytest.mark.parametrize("model_type", FAMILY)
def test_a_saved_encoder_gives_the_same_vectors(tmp_path: Path, model_type: str) -> None:
    folder = write_model(tmp_path, model_type, "cls", prompts={"query": "q "})
    edit_json(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder, saved = opened(folder), tmp_path / "saved"
    save_sentence_encoder(encoder, saved)
    weights = folder / "model.safetensors"
    assert (saved / "language_model.safetensors").read_bytes() == weights.read_bytes()
    assert weights.stat().st_nlink == 1
    shutil.rmtree(folder)
    again = load_saved(saved)
    assert (again.digest, again.width, again.settings) == (encoder.digest, encoder.width, encoder.settings)
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    save_sentence_encoder(again, saved)
    np.testing.assert_array_equal(load_saved(saved).encode(TEXTS), encoder.encode(TEXTS))
    names = ["language.json", "language_model.safetensors", "language_tokenizer.json"]
    assert sorted(path.name for path in saved.iterdir()) == names


@pytest.mark.parametrize("name", ["language.json", "language_model.safetensors", "language_tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"digest": "0"}'])
def test_a_damaged_file_of_a_saved_encoder_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    save_sentence_encoder(opened(write_model(tmp_path)), tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MissingArtifact, match=rf"cannot load .*{name}.*download"):
        load_saved(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("config", "model_type", "mpnet", "model_type is 'mpnet', expected one of bert, roberta"),
        ("config", "hidden_size", "32", "hidden_size is '32', expected int"),
        ("settings", "pooling", "sum", "the pooling is 'sum', expected one of mean, cls"),
        ("settings", "normalize", 1, "normalize is 1, expected bool"),
    ],
)
def test_an_unsupported_saved_encoder_is_refused(
    tmp_path: Path, part: str, field: str, value: object, message: str
) -> None:
    save_sentence_encoder(opened(write_model(tmp_path)), tmp_path)
    path = tmp_path / "language.json"
    content = json.loads(path.read_text())
    content[part][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(MissingArtifact, match=message):
        load_saved(tmp_path)


def test_a_tokenizer_with_other_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    save_sentence_encoder(opened(folder), tmp_path)
    shutil.copy(
        locate_sentence_encoder(ROOT, MINILM, None) / "tokenizer.json", tmp_path / "language_tokenizer.json"
    )
    with pytest.raises(MismatchError, match="has 30522 tokens, but its text encoder has embeddings of 108"):
        load_saved(tmp_path)


IMPORTS_NO_LIBRARY_OF_AN_EXTRA = """
import sys
from pathlib import Path
from autolora.extras import LIBRARIES
from autolora.text_encoder.sentences import load_saved

load_saved(Path(sys.argv[1])).encode(["a red cat"])
print(sorted(LIBRARIES & sys.modules.keys()))
"""


@pytest.mark.slow
def test_a_saved_encoder_needs_no_library_of_an_extra(tmp_path: Path) -> None:
    save_sentence_encoder(opened(write_model(tmp_path)), tmp_path)
    command = [sys.executable, "-c", IMPORTS_NO_LIBRARY_OF_AN_EXTRA, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "[]\n"
