"""The folder of a sentence encoder: where it is found, both versions of its layout, and what is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import filter_repo_objects

from autolora.errors import MissingArtifact, ParamsError
from autolora.text_encoder.sentence_folder import (
    REPOSITORY,
    locate_sentence_encoder,
    read_sentence_folder,
)
from tests.text_encoder.sentence_models import MINILM, TOKENS, edit_json, write_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EARLIER_TYPES = ("Transformer", "Pooling", "Normalize")


def write_package(folder: Path, name: str, models: int) -> None:
    """Write an importable package that contains folders of models, and fails if it is imported."""
    for n in range(models):
        (folder / name / f"model{n}").mkdir(parents=True)
        (folder / name / f"model{n}" / "modules.json").write_text("[]")
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError")


def test_a_relative_folder_is_one_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "models" / "small").mkdir(parents=True)
    for source in ("models/small", str(tmp_path / "models" / "small")):
        assert locate_sentence_encoder(tmp_path, source, None) == tmp_path / "models" / "small"


def test_a_package_is_found_without_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "package_of_a_model", models=1)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("package_of_a_model", "package-of-a-model"):
        found = locate_sentence_encoder(Path("elsewhere"), f"package:{name}", None)
        assert found == tmp_path / "package_of_a_model" / "model0"
    assert "package_of_a_model" not in sys.modules
    assert locate_sentence_encoder(tmp_path, MINILM, None).name == "model"


@pytest.mark.parametrize("models", [0, 2])
def test_a_package_without_exactly_one_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: int
) -> None:
    write_package(tmp_path, f"package_of_{models}", models)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingArtifact, match=f"contains {models} folders with modules.json, expected one"):
        locate_sentence_encoder(tmp_path, f"package:package_of_{models}", None)


@pytest.mark.parametrize("name", ["no-such-package", "no.such.package"])
def test_a_package_that_is_not_installed_is_named_with_the_command(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingArtifact, match=rf"{name} is not installed here: pip install {name}"):
        locate_sentence_encoder(tmp_path, f"package:{name}", None)


@pytest.mark.parametrize("source", ["nowhere", "./a", "/a/b", "~/a", "a/b/c", ""])
def test_a_source_that_is_neither_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(MissingArtifact, match="neither an existing folder nor package:NAME nor a Hugging"):
        locate_sentence_encoder(tmp_path / "repository", source, None)


def test_an_id_needs_a_revision(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"encoder.language is the hub id owner/name, without a revision"):
        locate_sentence_encoder(tmp_path, "owner/name", None)


def test_a_downloaded_id_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path)
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(model, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate_sentence_encoder(tmp_path, "owner/name", COMMIT) == snapshot


def test_only_files_that_are_read_are_downloaded() -> None:
    needed = ["modules.json", "1_Pooling/config.json", "0_Transformer/model.safetensors", "tokenizer.json"]
    others = ["pytorch_model.bin", "onnx/model.onnx", "README.md", "openvino/openvino_model.xml", "vocab.txt"]
    assert list(filter_repo_objects([*needed, *others], allow_patterns=list(REPOSITORY))) == needed


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_the_layout_of_earlier_versions_says_the_same(tmp_path: Path, pooling: str) -> None:
    """Their transformer has a folder of its own, their pooling a flag per kind, their limit is in another file."""
    model = write_model(tmp_path, pooling=pooling)
    expected = read_sentence_folder(model).settings
    earlier = tmp_path / "earlier"
    shutil.copytree(model, earlier / "0_Transformer", ignore=shutil.ignore_patterns("?_*", "modules.json"))
    (earlier / "1_Pooling").mkdir()
    paths = ("0_Transformer", "1_Pooling", "2_Normalize")
    types = [f"sentence_transformers.models.{name}" for name in EARLIER_TYPES]
    modules = [{"path": path, "type": kind} for path, kind in zip(paths, types, strict=True)]
    (earlier / "modules.json").write_text(json.dumps(modules))
    names = ("mean_tokens", "cls_token", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    flags = {f"pooling_mode_{name}": name.startswith(pooling) and "sqrt" not in name for name in names}
    (earlier / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | flags))
    (earlier / "0_Transformer" / "sentence_bert_config.json").rename(
        earlier / "0_Transformer" / "sentence_roberta_config.json"
    )
    edit_json(earlier / "0_Transformer" / "sentence_roberta_config.json", max_seq_length=TOKENS)
    edit_json(earlier / "0_Transformer" / "tokenizer_config.json", model_max_length=10**30)
    folder = read_sentence_folder(earlier)
    assert folder.settings == expected and folder.transformer == earlier / "0_Transformer"


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "1_Pooling/config.json",
            {"pooling_mode": ["mean", "max"]},
            "the poolings are mean, max, expected one",
        ),
        ("1_Pooling/config.json", {"pooling_mode": []}, "the poolings are none, expected one of mean, cls"),
        (
            "1_Pooling/config.json",
            {"pooling_mode": "weightedmean"},
            "the pooling is 'weightedmean', expected",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode": None, "pooling_mode_mean_sqrt_len_tokens": True},
            "the pooling is 'mean_sqrt_len', expected one of mean",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode": None, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
            "the poolings are cls, max, expected one of",
        ),
        ("1_Pooling/config.json", {"include_prompt": False}, r"leaves the prompt out \(include_prompt\)"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "no"},
            "names the prompt 'no', but has",
        ),
        ("config_sentence_transformers.json", {"prompts": []}, "prompts .*, expected an object"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        ("config.json", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', expected one of"),
        ("config.json", {"position_embedding_type": "relative_key"}, "'relative_key', expected 'absolute'"),
        ("config.json", {"is_decoder": True}, "is_decoder is true, expected an encoder"),
        ("config.json", {"vocab_size": None}, "it has no field 'vocab_size'"),
        ("config.json", {"num_attention_heads": 5}, "expected a multiple of num_attention_heads, 5"),
    ],
)
def test_an_unsupported_config_is_refused(
    tmp_path: Path, name: str, fields: dict[str, Any], message: str
) -> None:
    model = write_model(tmp_path, prompts={"query": "query: "})
    edit_json(model / name, **fields)
    with pytest.raises(MissingArtifact, match=f"{model}.*{message}"):
        read_sentence_folder(model)


@pytest.mark.parametrize(
    ("types", "named"),
    [
        (["models.Transformer", "models.Pooling", "models.Dense"], "Transformer, Pooling, Dense"),
        (["models.StaticEmbedding"], "StaticEmbedding"),
        (["models.Transformer"], "Transformer"),
        ([], ""),
    ],
)
def test_unsupported_modules_are_named(tmp_path: Path, types: list[str], named: str) -> None:
    modules = [{"path": "", "type": f"sentence_transformers.{name}"} for name in types]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(MissingArtifact, match=f"the modules {named}, expected Transformer, Pooling or "):
        read_sentence_folder(tmp_path)


def test_code_of_the_authors_is_refused(tmp_path: Path) -> None:
    modules = [{"path": "", "type": f"custom_st.{name}"} for name in EARLIER_TYPES]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(
        MissingArtifact, match=r"names the modules custom_st\.Transformer, custom_st\.Pooling"
    ):
        read_sentence_folder(tmp_path)


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "3", '"text"'])
def test_a_damaged_config_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    model = write_model(tmp_path)
    (model / name).unlink()
    if content is not None:
        (model / name).write_text(content)
    with pytest.raises(MissingArtifact, match=rf"in {model}: .*{name.rpartition('/')[2]}"):
        read_sentence_folder(model)


@pytest.mark.parametrize(
    ("name", "pattern"), [("tokenizer.json", "tokenizer.json"), ("model.safetensors", r"\*\.safetensors")]
)
def test_a_missing_file_is_named_with_what_writes_it(tmp_path: Path, name: str, pattern: str) -> None:
    model = write_model(tmp_path)
    (model / name).unlink()
    with pytest.raises(
        MissingArtifact, match=rf"has no {pattern}.*SentenceTransformer\(MODEL\)\.save_pretrained"
    ):
        read_sentence_folder(model)


def test_a_model_whose_limit_is_unknown_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    edit_json(model / "config.json", model_type="xlnet", max_position_embeddings=None)
    edit_json(model / "tokenizer_config.json", model_max_length=None)
    with pytest.raises(MissingArtifact, match="no file states how many tokens it reads"):
        read_sentence_folder(model)


def test_prompts_and_limits_are_optional(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer_config.json"):
        (model / name).unlink()
    settings = read_sentence_folder(model).settings
    assert (settings.prompt, settings.lower_case, settings.max_length) == ("", False, TOKENS + 2)


@pytest.mark.parametrize("path", ["/etc/1_Pooling", "../1_Pooling"])
def test_modules_of_other_folders_are_refused(tmp_path: Path, path: str) -> None:
    folder = write_model(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(MissingArtifact, match=f"modules.json names the folder {path}, expected one inside"):
        read_sentence_folder(folder)
