"""Loading of the base pipeline and its text encoder, from a local folder or a pinned revision on a hub.

Functions import torch, transformers and diffusers when they need them, because a search needs the folders only.
"""

import json
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autolora.errors import HubError, MissingArtifact, ParamsError
from autolora.gpu_memory import ask_cards
from autolora.params import ModelsParams
from autolora.storage.arrays import Float32Array
from autolora.storage.hashes import hash_folder, hash_value

if TYPE_CHECKING:
    import torch

TEXTS_PER_BATCH = 128
LENGTH_STEP = 8
"""tokens; a text is padded to a multiple of it, whatever texts are encoded beside it"""
PIPELINE_FILES = ("model_index.json", "*/*")
"""a FluxPipeline on a hub: its index and the folders of its parts, but not the same weights once more as single files
for other programs, which lie beside the folders (24 GB of FLUX.1-dev)"""
OTHER_FORMATS = ("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot", "open_clip*", "consolidated*", "original/*")
"""files of a hub's models that transformers and diffusers do not read: the same weights for other libraries"""
QUANTIZED = ("8bit", "4bit")
"""values of models.memory"""
QUANTIZED_PARTS = ("transformer", "text_encoder_2")
"""of the pipeline: 33.3 of the 33.7 GB of FLUX.1-dev"""
LOGGING_MODULES = ("transformers.utils.logging", "diffusers.utils.logging")
"""modules that turn the loading libraries' progress bars on and off"""

FLUX_1_DEV = "black-forest-labs/FLUX.1-dev"
FLUX_1_DEV_TRANSFORMER = {
    "_class_name": "FluxTransformer2DModel",
    "_diffusers_version": "0.30.0.dev0",
    "_name_or_path": "../checkpoints/flux-dev/transformer",
    "attention_head_dim": 128,
    "guidance_embeds": True,
    "in_channels": 64,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 19,
    "num_single_layers": 38,
    "patch_size": 1,
    "pooled_projection_dim": 768,
}
"""transformer/config.json of FLUX.1-dev"""

logger = logging.getLogger(__name__)


def relative_to(root: Path, params: ModelsParams) -> ModelsParams:
    """Return models whose relative folders are those of a repository, whatever the working directory is."""
    pipeline, vlm = (
        str(root / name) if name and (root / name).is_dir() else name
        for name in (params.pipeline, params.vlm)
    )
    return replace(params, pipeline=pipeline, vlm=vlm)


def check_device(params: ModelsParams) -> None:
    """Raise ParamsError if the device is a GPU that torch does not find."""
    import torch

    if params.device.startswith("cuda") and not torch.cuda.is_available():
        raise ParamsError(
            f"models.device is '{params.device}' but torch finds no GPU: {_explain_missing_gpu()}"
        )


def _explain_missing_gpu() -> str:
    """Return why torch finds no GPU, and what to do."""
    import torch

    if torch.version.cuda is None:
        return "torch is a build without CUDA: install another one (https://pytorch.org), or set models.device: cpu"
    drivers = ask_cards("driver_version")
    if not drivers:
        return "no NVIDIA driver answers (nvidia-smi): install one, or set models.device: cpu"
    return (
        f"the driver is {drivers[0]} and torch was built for CUDA {torch.version.cuda}, which needs a newer one: "
        "update the driver, install a torch for an older CUDA, or set models.device: cpu"
    )


def set_threads(params: ModelsParams) -> None:
    """Set the number of CPU threads of torch; 0 keeps torch's default. Raises as `check_device`."""
    import torch

    check_device(params)
    if params.threads:
        torch.set_num_threads(params.threads)


def dtype(params: ModelsParams) -> "torch.dtype":
    """Return the torch dtype in which the base pipeline is loaded."""
    import torch

    value = getattr(torch, params.dtype)
    assert isinstance(value, torch.dtype)
    return value


def resolve(name: str, revision: str | None, parts: Sequence[str] = (), key: str = "models.pipeline") -> Path:
    """Return the folder of a model: a local folder, or the downloaded snapshot of a hub id (owner/name).

    parts: patterns of the files to download, e.g. `transformer/*`; empty for all files but OTHER_FORMATS.
    key: in params.yaml, of the name.
    Raises MissingArtifact if `name` is neither a folder nor a hub id, ParamsError if a hub id has no revision,
    HubError if the download fails.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise MissingArtifact(
            f"{key} is {name}, which is neither an existing folder nor a hub id (owner/name): build the playground's "
            "models (`make playground`) or set another model in params.yaml"
        )
    if revision is None:
        raise ParamsError(
            f"{key} is the hub id {name}, without a revision: set its revision (a commit) in params.yaml"
        )
    return _snapshot(name, revision, parts)


def _snapshot(name: str, revision: str, parts: Sequence[str]) -> Path:
    """Download the missing files of a hub snapshot and return its folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = {"allow_patterns": list(parts) or None, "ignore_patterns": list(OTHER_FORMATS)}
        return Path(snapshot_download(name, revision=revision, **patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise HubError(
            f"cannot download {name}@{revision}: {error}; check the id, the revision and your access, "
            "or set a local folder in params.yaml"
        ) from error


def component(params: ModelsParams, name: str) -> Path:
    """Return the folder of one component of the base pipeline, e.g. `text_encoder`.

    Raises MissingArtifact if the pipeline has no such component.
    """
    pipeline = resolve(params.pipeline, params.pipeline_revision, (f"{name}/*",))
    if not (pipeline / name).is_dir():
        raise MissingArtifact(
            f"{pipeline} contains no folder '{name}', which a FluxPipeline has: build or download it again"
        )
    return pipeline / name


def transformer_config(params: ModelsParams) -> dict[str, Any]:
    """Return the config of the base pipeline's transformer, without loading its weights.

    That of FLUX.1-dev is known, because its repository asks for an account and a license. Raises MissingArtifact if it
    cannot be read.
    """
    if params.pipeline == FLUX_1_DEV:
        return dict(FLUX_1_DEV_TRANSFORMER)
    folder = resolve(params.pipeline, params.pipeline_revision, ("transformer/config.json",))
    path = folder / "transformer" / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingArtifact(
            f"cannot read {path}: {error}; check that models.pipeline in params.yaml is a FluxPipeline"
        ) from error
    return config


class ClipTextEncoder:
    """The frozen CLIP text encoder of the base pipeline, with its tokenizer, in torch: for many texts, or on a GPU."""

    def __init__(self, model: Any, tokenizer: Any, folders: Sequence[Path]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._folders = tuple(folders)
        self.width = int(model.config.hidden_size)
        self.tokens = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings))

    @cached_property
    def digest(self) -> str:
        """The sha256 over the files of the text encoder and its tokenizer."""
        return hash_value([hash_folder(folder) for folder in self._folders])

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the pooled features (N, d), float32, not normalized; long texts are truncated."""
        import torch

        features = np.empty((len(texts), self.width), dtype=np.float32)
        ids = self._tokenizer(list(texts), max_length=self.tokens, truncation=True).input_ids if texts else []
        lengths = defaultdict[int, list[int]](list)
        for position, tokens in enumerate(ids):
            lengths[min(self.tokens, math.ceil(len(tokens) / LENGTH_STEP) * LENGTH_STEP)].append(position)
        with torch.no_grad():
            for length, positions in lengths.items():
                for start in range(0, len(positions), TEXTS_PER_BATCH):
                    batch = positions[start : start + TEXTS_PER_BATCH]
                    pooled = self._encode([ids[position] for position in batch], length)
                    features[batch] = pooled.float().cpu().numpy()
        return features

    def _encode(self, ids: list[list[int]], length: int) -> "torch.Tensor":
        """Return the features of token ids that are padded to a length: CLIP reads none behind the end of a text."""
        tokens = self._tokenizer.pad(
            {"input_ids": ids}, padding="max_length", max_length=length, return_tensors="pt"
        )
        pooled: torch.Tensor = self._model(tokens.input_ids.to(self._model.device)).pooler_output
        return pooled


def load_text_encoder(params: ModelsParams) -> ClipTextEncoder:
    """Return the CLIP text encoder of the base pipeline, in float32.

    Raises MissingArtifact if it is missing or damaged.
    """
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    check_device(params)
    folders = (component(params, "text_encoder"), component(params, "tokenizer"))
    with loading(folders[0]):
        model = CLIPTextModel.from_pretrained(folders[0], dtype=torch.float32, use_safetensors=True)
    with loading(folders[1]):
        tokenizer = CLIPTokenizer.from_pretrained(folders[1])
    return ClipTextEncoder(model.to(params.device).eval().requires_grad_(False), tokenizer, folders)


def diffusers_class(name: str) -> Any:
    """Return a class of diffusers. Raises MissingArtifact if it cannot be imported."""
    try:
        import diffusers

        return getattr(diffusers, name)
    except RuntimeError as error:  # what diffusers raises if its own import fails
        raise MissingArtifact(
            f"diffusers cannot be imported: {error}; install its libraries again: pip install 'autolora[pipeline]'"
        ) from error


def check_draws(folder: Path) -> None:
    """Raise MissingArtifact if a folder that `pipeline` names contains no whole FluxPipeline."""
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        parts = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise MissingArtifact(
            f"models.pipeline is {folder}, which has no model_index.json but only {', '.join(parts) or 'no folder'}: "
            "enough for searches at most. To generate images, set models.pipeline and models.pipeline_revision in "
            "params.yaml to a FluxPipeline with the same text encoder"
        )


def load_pipeline(params: ModelsParams) -> Any:
    """Return the base FluxPipeline, frozen, with its progress bar disabled.

    Its weights are placed or quantized as `memory` says. Raises MissingArtifact if it is missing or damaged, or if a
    library cannot be imported, ParamsError if it cannot be quantized here.
    """
    import torch

    flux_pipeline = diffusers_class("FluxPipeline")
    folder = resolve(params.pipeline, params.pipeline_revision, PIPELINE_FILES)
    check_draws(folder)
    quantization = _quantization(params)
    with loading(folder):
        pipeline: Any = flux_pipeline.from_pretrained(
            folder, dtype=dtype(params), quantization_config=quantization, use_safetensors=True
        )
    pipeline.set_progress_bar_config(disable=True)
    modules = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    for part in modules:
        part.eval().requires_grad_(False)
    if params.memory == "offload":
        pipeline.enable_model_cpu_offload(device=params.device)
    elif params.memory == "sequential":
        from accelerate import cpu_offload

        for part in modules:  # as `enable_sequential_cpu_offload`, which fails on the CPU
            cpu_offload(part, torch.device(params.device))
    else:
        pipeline.to(params.device)
    return pipeline


def check_quantization(params: ModelsParams) -> None:
    """Raise ParamsError if the base is to be quantized without a GPU, MissingArtifact if without bitsandbytes."""
    if params.memory not in QUANTIZED:
        return
    if not params.device.startswith("cuda"):
        raise ParamsError(
            f"models.memory is {params.memory} but models.device is {params.device}, and diffusers quantizes on a GPU "
            "only: set models.memory to null"
        )
    if find_spec("bitsandbytes") is None:
        raise MissingArtifact(
            f"models.memory is {params.memory}, which needs bitsandbytes: pip install bitsandbytes, or set "
            "models.memory: sequential"
        )


def _quantization(params: ModelsParams) -> Any:
    """Return how transformer and T5 are quantized while they are loaded; None for not at all.

    Raises as `check_quantization`.
    """
    check_quantization(params)
    if params.memory not in QUANTIZED:
        return None
    options: dict[str, Any] = {"load_in_8bit": True}
    if params.memory == "4bit":
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": dtype(params),
        }
    return diffusers_class("PipelineQuantizationConfig")(
        quant_backend=f"bitsandbytes_{params.memory}",
        quant_kwargs=options,
        components_to_quantize=list(QUANTIZED_PARTS),
    )


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Disable progress bars, and turn the errors of a loading library into MissingArtifact with the folder's name."""
    modules = [sys.modules[name] for name in LOGGING_MODULES if name in sys.modules]
    enabled = [module for module in modules if module.is_progress_bar_enabled()]
    for module in enabled:
        module.disable_progress_bar()
    logger.info("loading %s", folder)
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MissingArtifact(f"cannot load {folder}: {error}; build or download it again") from error
    finally:
        for module in enabled:
            module.enable_progress_bar()


def training_sigmas(pipeline: Any, tokens: int) -> "torch.Tensor":
    """Return the noise levels (S,), descending from 1, of the scheduler's S training steps.

    tokens: number of image tokens, on which the shift of the noise levels depends.
    """
    import torch
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    config = scheduler.config
    shift = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    count = config.num_train_timesteps
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / count, count).numpy(), mu=shift)
    sigmas: torch.Tensor = scheduler.sigmas[:-1]
    return sigmas.float().cpu()
