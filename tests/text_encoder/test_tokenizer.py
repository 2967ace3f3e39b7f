"""The tokenizer: the same token ids as transformers' CLIPTokenizer, from every layout of the folder."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import CLIPTokenizer

from autolora.errors import MissingArtifact
from autolora.text_encoder.tokenizer import ClipTokenizer

PLAYGROUND = Path(__file__).parents[2] / "playground/models/flux/tokenizer"
TOKENS = 32
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
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


def content_of(name: str) -> Any:
    return json.loads((PLAYGROUND / name).read_text())


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def as_saved_now(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, as transformers 5 does."""
    shutil.copytree(PLAYGROUND, folder)


def as_released(folder: Path) -> None:
    """Write the files of FLUX.1-dev: vocab.json, merges.txt and a config with the special tokens."""
    model = content_of("tokenizer.json")["model"]
    write_json(folder / "vocab.json", model["vocab"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": True}
    added = {str(model["vocab"][token]): {"content": token, **flags} for token in (BEGIN, END)}
    config = {"added_tokens_decoder": added, "bos_token": BEGIN, "eos_token": END, "unk_token": END}
    settings = {
        "pad_token": END,
        "model_max_length": 24,
        "tokenizer_class": "CLIPTokenizer",
        "errors": "replace",
    }
    write_json(folder / "tokenizer_config.json", config | settings)


def without_limit(folder: Path) -> None:
    """Write a config without a limit, so that the model's applies, and tokens that are not in the vocabulary."""
    as_released(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = config["added_tokens_decoder"]
    flags = {"lstrip": True, "normalized": False, "rstrip": False, "single_word": True, "special": False}
    size = max(json.loads((folder / "vocab.json").read_text()).values()) + 1
    added |= {str(size + n): {"content": token, **flags} for n, token in enumerate(("linocut", "Cat"))}
    del config["model_max_length"]
    write_json(folder / "tokenizer_config.json", config)


def with_special_tokens_map(folder: Path) -> None:
    """Write the special tokens in a file of their own, and another padding."""
    as_released(folder)
    token = {"content": END, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    write_json(
        folder / "special_tokens_map.json",
        {
            "bos_token": token | {"content": BEGIN},
            "eos_token": token,
            "unk_token": token,
            "pad_token": "!</w>",
        },
    )
    write_json(folder / "tokenizer_config.json", {"model_max_length": 77, "padding_side": "left"})


def with_added_tokens(folder: Path) -> None:
    """Write words that were added to the vocabulary in a file of their own, as earlier versions do."""
    bare(folder)
    size = max(json.loads((folder / "vocab.json").read_text()).values()) + 1
    write_json(folder / "added_tokens.json", {"linocut": size + 1, "Red cat": size})


def bare(folder: Path) -> None:
    """Write vocab.json and merges.txt only."""
    as_released(folder)
    (folder / "tokenizer_config.json").unlink()


def with_merges_as_strings(folder: Path) -> None:
    """Write tokenizer.json as earlier versions do, with other steps, which transformers ignores too."""
    as_saved_now(folder)
    content = content_of("tokenizer.json")
    pairs = content["model"]["merges"]
    content["model"]["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    content["normalizer"] = {"type": "NFD"}
    write_json(folder / "tokenizer.json", content)


@pytest.mark.parametrize(
    "layout",
    [
        as_saved_now,
        as_released,
        without_limit,
        with_special_tokens_map,
        with_added_tokens,
        bare,
        with_merges_as_strings,
    ],
)
def test_token_ids_equal_those_of_transformers(tmp_path: Path, layout: Callable[[Path], None]) -> None:
    folder = tmp_path / "tokenizer"
    layout(folder)
    reference = CLIPTokenizer.from_pretrained(folder)
    tokenizer = ClipTokenizer(folder, TOKENS)
    texts = [*TEXTS, *random_texts(300)]
    length = min(TOKENS, reference.model_max_length)
    expected = reference(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="np"
    ).input_ids
    ids = tokenizer.encode(texts)
    different = [
        text for text, row, wanted in zip(texts, ids, expected, strict=True) if list(row) != list(wanted)
    ]
    assert not different
    assert ids.shape == (len(texts), length) and ids.dtype == np.int64
    assert tokenizer.size == len(reference)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifact, match=f"cannot load the CLIP tokenizer in {tmp_path}.*download it again"
    ):
        ClipTokenizer(tmp_path, TOKENS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"type": "WordLevel", "vocab": {"a": 0}}, "added_tokens": []}'),
        ("tokenizer_config.json", "[7]"),
        ("tokenizer_config.json", '{"padding_side": "up"}'),
        ("tokenizer_config.json", '{"bos_token": 7}'),
        ("tokenizer_config.json", '{"model_max_length": "many"}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"a": "b"}}'),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    folder = tmp_path / "tokenizer"
    as_saved_now(folder)
    (folder / name).write_text(content)
    with pytest.raises(MissingArtifact, match="cannot load the CLIP tokenizer"):
        ClipTokenizer(folder, TOKENS)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_vocabulary_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tokenizer"
    as_released(folder)
    (folder / name).unlink()
    with pytest.raises(MissingArtifact, match="cannot load the CLIP tokenizer"):
        ClipTokenizer(folder, TOKENS)


def test_the_end_of_a_text_that_is_cut_off_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = ClipTokenizer(PLAYGROUND, TOKENS)
    text = " ".join(["cat"] * (TOKENS - 2)) + " dog bird"
    tokenizer.encode([text, "a cat"])
    tokenizer.encode([text])
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the text is longer than the {TOKENS} tokens that CLIP reads; ignored is its end: 'dog bird'"
    )


def test_a_text_of_exactly_all_tokens_is_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    ClipTokenizer(PLAYGROUND, TOKENS).encode([" ".join(["cat"] * (TOKENS - 2))])
    assert not caplog.records
