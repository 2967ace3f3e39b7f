"""The tokenizer: the same token ids as transformers' CLIPTokenizer, without importing transformers."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

from autolora.errors import MissingArtifact, MissingLibrary
from autolora.text_encoder.clip import ClipTokenizer
from autolora.text_encoder.tokenizer import FILE, convert_tokenizer

PLAYGROUND = Path(__file__).parents[2] / "playground/models/flux/tokenizer"
TOKENS = 32
TEXTS = (
    "a red cat in the style of a linocut",
    "",
    " ",
    "\t\n\r\x0b\x0c\u00a0\u2003\u3000\u200b\ufeff",
    "  spaces   before,\n between\tand after  ",
    "Don't SHOUT: we've, they'll, I'd, it's, you're, I'm 'S 'x",
    "3.14 1,000 ٣ ½ Ⅻ x²",
    "naïve café cafe\u0301 ÅÅ\u212b Straße İstanbul ŒUVRE",
    "日本語 العربية עברית हिन्दी ไทย 한국어 ᄒ\u1161\u11ab",
    "😀👩‍👩‍👧‍👦🇩🇪 ☃\ufe0f 𝒜𝓁𝓅𝒽𝒶",
    "\x00\x01\x07\x1b[0m\x7f\x85",
    "<|endoftext|>",
    "a<|startoftext|>b <|endoftext|> c <|ENDOFTEXT|> <|endoftext",
    '!!!???---___***///\\\\\\"""```~~~',
    "word" * 500,
    "a b " * 500,
    "\u0301\u0301\u0301",
    "\U0010ffff\ue000\ufffd",
)


def random_texts(count: int) -> list[str]:
    """Return texts of random characters, from all of Unicode that a text may contain."""
    rng = random.Random(0)
    alphabets = ("abcdefghijklmnopqrstuvwxyz ", "aA1'. \n", [chr(c) for c in range(0x3000)])
    whole = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return ["".join(rng.choices(rng.choice([*alphabets, whole]), k=rng.randrange(60))) for _ in range(count)]


def converted(folder: Path, path: Path, max_tokens: int = TOKENS) -> ClipTokenizer:
    """Return the tokenizer of a folder after transformers has written it to `path`."""
    path.write_text(convert_tokenizer(folder, max_tokens))
    return ClipTokenizer(path)


@pytest.fixture
def tokenizer(tmp_path: Path) -> ClipTokenizer:
    """Return the tokenizer of the playground."""
    return converted(PLAYGROUND, tmp_path / FILE)


def as_released(folder: Path) -> Path:
    """Write the files of FLUX.1-dev: vocab.json, merges.txt and a config with the special tokens and a limit."""
    folder.mkdir()
    model = json.loads((PLAYGROUND / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 24, "errors": "replace"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("max_tokens", [20, TOKENS])
@pytest.mark.parametrize("is_released", [False, True])
def test_token_ids_equal_those_of_transformers(tmp_path: Path, is_released: bool, max_tokens: int) -> None:
    folder = as_released(tmp_path / "tokenizer") if is_released else PLAYGROUND
    reference = CLIPTokenizer.from_pretrained(folder)
    tokenizer = converted(folder, tmp_path / FILE, max_tokens)
    texts = [*TEXTS, *random_texts(300)]
    length = min(max_tokens, reference.model_max_length)
    expected = reference(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="np"
    ).input_ids
    ids = tokenizer.encode(texts)
    assert np.array_equal(ids, expected)
    assert ids.shape == (len(texts), length) and ids.dtype == np.int64
    assert tokenizer.size == len(reference)


def test_a_saved_tokenizer_is_the_same(tmp_path: Path, tokenizer: ClipTokenizer) -> None:
    tokenizer.encode(TEXTS)
    (tmp_path / "saved.json").write_text(tokenizer.to_json())
    assert tokenizer.to_json() == (tmp_path / FILE).read_text()
    assert np.array_equal(ClipTokenizer(tmp_path / "saved.json").encode(TEXTS), tokenizer.encode(TEXTS))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifact, match=f"cannot load the CLIP tokenizer in {tmp_path}.*download it again"
    ):
        convert_tokenizer(tmp_path, TOKENS)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"model": {"type": "WordLevel"}}'])
def test_a_damaged_folder_is_named(tmp_path: Path, content: str) -> None:
    folder = shutil.copytree(PLAYGROUND, tmp_path / "tokenizer")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(MissingArtifact, match="cannot load the CLIP tokenizer in"):
        convert_tokenizer(folder, TOKENS)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_vocabulary_is_an_error(tmp_path: Path, name: str) -> None:
    folder = as_released(tmp_path / "tokenizer")
    (folder / name).unlink()
    with pytest.raises(
        MissingArtifact, match=r"it has neither tokenizer\.json nor vocab\.json with merges\.txt"
    ):
        convert_tokenizer(folder, TOKENS)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(MissingArtifact, match=f"cannot load the CLIP tokenizer {tmp_path / FILE}"):
        ClipTokenizer(tmp_path / FILE)


def test_a_folder_that_is_not_converted_needs_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r"which no stage has converted yet, needs transformers, .*autolora\[pipeline\]"
    with pytest.raises(MissingLibrary, match=message):
        convert_tokenizer(PLAYGROUND, TOKENS)


def test_the_end_of_a_text_that_is_cut_off_is_logged_once(
    tokenizer: ClipTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    text = " ".join(["cat"] * (TOKENS - 2)) + " dog bird"
    tokenizer.encode([text, "a cat"])
    tokenizer.encode([text])
    (record,) = caplog.records
    sentence = f"CLIP reads {TOKENS} tokens of the text and ignores the rest, from 'dog bird' on"
    assert record.getMessage() == sentence == tokenizer.describe_unread(text)
    assert tokenizer.describe_unread("a cat") == ""


def test_a_text_of_exactly_all_tokens_is_not_cut(
    tokenizer: ClipTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer.encode([" ".join(["cat"] * (TOKENS - 2))])
    assert not caplog.records
