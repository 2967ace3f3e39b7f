"""The text encoder in NumPy: the features of torch's, from files of every dtype, and errors that name the file."""

import json
import math
import shutil
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from autolora import models
from autolora.errors import MismatchError, MissingArtifact
from autolora.params import ModelsParams, load
from autolora.text_encoder import clip
from autolora.text_encoder.clip import NumpyTextEncoder, load_numpy_text_encoder
from autolora.text_encoder.layers import gelu, quick_gelu

ROOT = Path(__file__).parents[2]
SHIPPED = load(ROOT / "params.yaml").models
TOKENS = 20
TEXTS = (
    "a red cat",
    "",
    "a text that is much longer than the twenty tokens that fit into one row",
    "b <|endoftext|> c",
    "<|startoftext|>",
    "É 日本 \n 😀",
)


def write_model(folder: Path, *, dtype: torch.dtype = torch.float32, **overrides: object) -> ModelsParams:
    """Write a random text encoder with the structure of CLIP-L, and a tokenizer of single letters.

    overrides: fields of its config.
    """
    letters = list(string.ascii_lowercase)
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: n for n, name in enumerate(names)}, merges=[], model_max_length=77)
    end = len(names) - 1
    fields = {
        "vocab_size": len(names),
        "hidden_size": 48,
        "intermediate_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": TOKENS,
        "hidden_act": "quick_gelu",
        "bos_token_id": end - 1,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    torch.manual_seed(0)
    model = CLIPTextModel(CLIPTextConfig(**fields | overrides))
    with torch.no_grad():
        for parameter in model.parameters():  # larger than initialized, so that attention is not uniform
            parameter.add_(torch.randn_like(parameter) * 0.1)
    tokenizer.save_pretrained(folder / "tokenizer")
    model.to(dtype).save_pretrained(folder / "text_encoder")
    return replace(SHIPPED, pipeline=str(folder))


def assert_equal_to_torch(
    root: Path, params: ModelsParams, texts: tuple[str, ...] = TEXTS
) -> NumpyTextEncoder:
    """Assert that features, width and digest are those of torch's encoder, and return that in NumPy."""
    expected, encoder = models.load_text_encoder(params), load_numpy_text_encoder(root, params)
    features = encoder.encode(texts)
    assert features.dtype == np.float32 and features.shape == (len(texts), encoder.width)
    np.testing.assert_allclose(features, expected.encode(texts), rtol=0, atol=1e-5)
    assert (encoder.digest, encoder.width) == (expected.digest, expected.width)
    return encoder


def test_features_equal_those_of_torch_on_the_playground(tmp_path: Path) -> None:
    params = replace(SHIPPED, pipeline=str(ROOT / SHIPPED.pipeline))
    encoder = assert_equal_to_torch(tmp_path, params, (*TEXTS, "a drawing of a blue duck, in pixel art"))
    assert np.linalg.norm(encoder.encode(["a red cat"]) - encoder.encode(["a blue duck"])) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("eos_token_id", [2, 53])
@pytest.mark.parametrize("hidden_act", ["quick_gelu", "gelu"])
def test_features_equal_those_of_torch(
    tmp_path: Path, hidden_act: str, eos_token_id: int, dtype: torch.dtype
) -> None:
    params = write_model(tmp_path, dtype=dtype, hidden_act=hidden_act, eos_token_id=eos_token_id)
    assert_equal_to_torch(tmp_path, params)


@pytest.mark.parametrize("eos_token_id", [2, 7, 51])
def test_an_end_other_than_the_last_token_is_where_transformers_finds_it(
    tmp_path: Path, eos_token_id: int
) -> None:
    """The config names a letter, or none that the text contains, and the padding has the highest id."""
    params = write_model(tmp_path, eos_token_id=eos_token_id, vocab_size=55)
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<|padding|>"}))
    assert_equal_to_torch(tmp_path, params, (*TEXTS, "h h h", "zh"))


def test_names_of_earlier_versions_are_read(tmp_path: Path) -> None:
    params = write_model(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"text_model.embeddings.position_ids": torch.arange(TOKENS)[None].float()}, path)
    assert_equal_to_torch(tmp_path, params)


def test_batches_do_not_change_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_numpy_text_encoder(tmp_path, write_model(tmp_path))
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    monkeypatch.setattr(clip, "TEXTS_PER_BATCH", 4)
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, rtol=0, atol=1e-5)
    assert encoder.encode([]).shape == (0, 48)


def test_a_relative_pipeline_is_one_of_the_repository(tmp_path: Path) -> None:
    params = write_model(tmp_path / "models" / "flux")
    relative = load_numpy_text_encoder(tmp_path, replace(params, pipeline="models/flux"))
    assert relative.digest == load_numpy_text_encoder(tmp_path, params).digest


def test_activations_equal_their_definitions() -> None:
    x = np.linspace(-12, 12, 20_001, dtype=np.float32)
    exact = np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()])
    np.testing.assert_allclose(gelu(x), exact, rtol=0, atol=1e-6)
    sigmoid = 1 / (1 + np.exp(-1.702 * x.astype(np.float64)))
    np.testing.assert_allclose(quick_gelu(x), x * sigmoid, rtol=1e-5, atol=1e-7)
    with np.errstate(all="raise", under="ignore"):
        assert quick_gelu(np.float32([-1e4, 1e4])).tolist() == [0, 1e4]


CONFIG = "text_encoder/config.json"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hidden_act": "gelu_new"},
            r"hidden_act is 'gelu_new', expected one of the supported quick_gelu, gelu",
        ),
        ({"eos_token_id": [2, 3]}, r"eos_token_id is \[2, 3\], expected int"),
        ({"eos_token_id": None}, r"eos_token_id is None, expected int"),
        ({"num_attention_heads": 5}, r"hidden_size is 48, expected a multiple of num_attention_heads, 5"),
        ({"num_attention_heads": 0}, r"expected a multiple of num_attention_heads, 0"),
        ({"layer_norm_eps": "small"}, r"layer_norm_eps is 'small', expected float"),
        ({"hidden_size": 24}, r"has the shape \(54, 48\), but config\.json requires the shape \(54, 24\)"),
        ({"num_hidden_layers": 13}, r"'encoder\.layers\.12\.\S+' is missing"),
        (
            {"max_position_embeddings": 77},
            r"'embeddings\.position_embedding\.weight' has the shape \(20, 48\)",
        ),
    ],
)
def test_an_unsupported_config_is_refused(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    params = write_model(tmp_path)
    path = tmp_path / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(MissingArtifact, match=f"{tmp_path}.*{message}"):
        load_numpy_text_encoder(tmp_path, params)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hidden_size": 48}'])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    params = write_model(tmp_path)
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(MissingArtifact, match=r"cannot load .*config\.json.*download the text encoder again"):
        load_numpy_text_encoder(tmp_path, params)


@pytest.mark.parametrize("bytes_kept", [0, 7, 100, 20_000])
def test_truncated_weights_are_refused(tmp_path: Path, bytes_kept: int) -> None:
    params = write_model(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:bytes_kept])
    with pytest.raises(MissingArtifact, match=r"cannot load .*model\.safetensors"):
        load_numpy_text_encoder(tmp_path, params)


def test_weights_of_another_dtype_are_refused(tmp_path: Path) -> None:
    params = write_model(tmp_path, dtype=torch.float64)
    with pytest.raises(MissingArtifact, match="has the dtype F64, expected one of F32, F16, BF16"):
        load_numpy_text_encoder(tmp_path, params)


@pytest.mark.parametrize(
    "name",
    [CONFIG, "text_encoder/model.safetensors", "tokenizer/tokenizer.json", "text_encoder", "tokenizer"],
)
def test_a_missing_file_or_folder_is_named(tmp_path: Path, name: str) -> None:
    params = write_model(tmp_path)
    path = tmp_path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingArtifact, match=name.partition("/")[0]):
        load_numpy_text_encoder(tmp_path, params)


def test_a_tokenizer_with_other_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="has 54 tokens, but its text encoder has embeddings of 53"):
        load_numpy_text_encoder(tmp_path, write_model(tmp_path, vocab_size=53))
