"""Loading the base pipeline's parts and the text encoder, from a folder as it is or a pinned hub revision.

Diffusers and transformers are imported by the function that needs them: a search loads no diffusion model.
"""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora.errors import HubError, MissingArtifact, ParamsError
from autolora.params import ModelsParams
from autolora.storage.files import hash_folder, hash_value

TEXTS_AT_ONCE = 128
LOADERS = ("transformers.utils.logging", "diffusers.utils.logging")
"""where the loading libraries switch their progress bars"""

logger = logging.getLogger(__name__)


def set_threads(params: ModelsParams) -> None:
    """Set torch's threads on the CPU; 0 leaves torch's own choice.

    Raises ParamsError when the device is a GPU that is not there.
    """
    if params.device.startswith("cuda") and not torch.cuda.is_available():
        raise ParamsError(f"models.device is '{params.device}' but torch sees no GPU here: set it to cpu")
    if params.threads:
        torch.set_num_threads(params.threads)


def dtype(params: ModelsParams) -> torch.dtype:
    """Return the precision that the base model's parts are loaded in."""
    found = getattr(torch, params.dtype)
    assert isinstance(found, torch.dtype)
    return found


def resolve(name: str, revision: str | None, parts: Sequence[str] = ()) -> Path:
    """Return the folder of a model: a local folder as it is, a hub id (owner/name) as its snapshot.

    parts: patterns of the files wanted from a hub, e.g. `transformer/*`; all of them when empty.
    Raises MissingArtifact when there is neither, ParamsError when a hub id names no revision, HubError when
    the hub cannot serve it.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise MissingArtifact(
            f"{name} is not a folder: build the models (`make playground`) or name a folder or a hub id "
            "(owner/name) in params.yaml"
        )
    if revision is None:
        raise ParamsError(f"{name} is a hub id and needs its revision (a commit) in params.yaml")
    return _snapshot(name, revision, parts)


def _snapshot(name: str, revision: str, parts: Sequence[str]) -> Path:
    """Download what is missing of a hub snapshot and return its folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(parts) or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise HubError(
            f"cannot download {name}@{revision}: {error}; check the id, the revision and your access, "
            "or name a local folder in params.yaml"
        ) from error


def component(params: ModelsParams, name: str) -> Path:
    """Return the folder of one part of the base pipeline, e.g. `vae`.

    Raises MissingArtifact when the pipeline has no such part.
    """
    pipeline = resolve(params.pipeline, params.pipeline_revision, (f"{name}/*",))
    if not (pipeline / name).is_dir():
        raise MissingArtifact(f"{pipeline} has no part '{name}': it is not a whole FluxPipeline folder")
    return pipeline / name


def transformer_config(params: ModelsParams) -> dict[str, Any]:
    """Return the config of the base pipeline's transformer; loads no weights.

    Raises MissingArtifact when it cannot be read.
    """
    folder = resolve(params.pipeline, params.pipeline_revision, ("transformer/config.json",))
    path = folder / "transformer" / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingArtifact(f"cannot read {path}: {error}; is {folder} a FluxPipeline folder?") from error
    return config


class ClipTextEncoder:
    """The base pipeline's frozen CLIP text tower, with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, folders: Sequence[Path]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._folders = tuple(folders)
        self.width = int(model.config.hidden_size)
        self.tokens = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings))

    @cached_property
    def digest(self) -> str:
        """The sha256 over the files of the text tower and of its tokenizer."""
        return hash_value([hash_folder(folder) for folder in self._folders])

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the pooled features (N, d), float32 on the CPU, not normalized; longer texts are cut."""
        rows = [self._encode(list(texts[i : i + TEXTS_AT_ONCE])) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        return torch.cat(rows) if rows else torch.zeros(0, self.width)

    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(
            texts, padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        )
        pooled: Tensor = self._model(tokens.input_ids.to(self._model.device)).pooler_output
        return pooled.float().cpu()


def load_text_encoder(params: ModelsParams) -> ClipTextEncoder:
    """Load the pipeline's CLIP text tower in float32.

    Raises MissingArtifact when the pipeline is missing or damaged.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    folders = (component(params, "text_encoder"), component(params, "tokenizer"))
    with _reading(folders[0]):
        model = CLIPTextModel.from_pretrained(folders[0], dtype=torch.float32)
    with _reading(folders[1]):
        tokenizer = CLIPTokenizer.from_pretrained(folders[1])
    return ClipTextEncoder(model.to(params.device).eval().requires_grad_(False), tokenizer, folders)


def load_transformer(params: ModelsParams) -> Any:
    """Load the base FluxTransformer2DModel, frozen.

    Raises MissingArtifact when it is missing or damaged.
    """
    return _load("FluxTransformer2DModel", params, "transformer")


def load_vae(params: ModelsParams) -> Any:
    """Load the base AutoencoderKL, frozen.

    Raises MissingArtifact when it is missing or damaged.
    """
    return _load("AutoencoderKL", params, "vae")


def load_pipeline(params: ModelsParams) -> Any:
    """Load the whole base FluxPipeline, without a progress bar of its own.

    Raises MissingArtifact when it is missing or damaged.
    """
    kind = _diffusers_class("FluxPipeline")
    folder = resolve(params.pipeline, params.pipeline_revision)
    with _reading(folder):
        pipeline = kind.from_pretrained(folder, dtype=dtype(params))
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.eval().requires_grad_(False)
    return pipeline.to(params.device)


def _diffusers_class(name: str) -> Any:
    try:
        import diffusers

        return getattr(diffusers, name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: diffusers is there, what it needs is not
        raise MissingArtifact(
            f"diffusers cannot be used: {error}; pip install 'autolora[generate]'"
        ) from error


def _load(name: str, params: ModelsParams, part: str) -> Any:
    kind = _diffusers_class(name)
    folder = component(params, part)
    with _reading(folder):
        model = kind.from_pretrained(folder, dtype=dtype(params))
    return model.to(params.device).eval().requires_grad_(False)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Load quietly, and say which folder is damaged where a foreign loader fails on it."""
    libraries = [sys.modules[name] for name in LOADERS if name in sys.modules]
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    logger.info("loading %s", folder)
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MissingArtifact(f"cannot load {folder}: {error}; build or download it again") from error
    finally:
        for library in shown:
            library.enable_progress_bar()


def training_sigmas(pipeline: Any, tokens: int) -> Tensor:
    """Return the noise levels (S,), falling from 1, that the pipeline's scheduler was trained with.

    S is the scheduler's number of training steps; its shift depends on a picture's number of `tokens`.
    """
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    config = scheduler.config
    shift = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    count = config.num_train_timesteps
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / count, count).numpy(), mu=shift)
    sigmas: Tensor = scheduler.sigmas[:-1]
    return sigmas.float().cpu()
