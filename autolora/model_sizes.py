"""The sizes of models: of a folder's files, of a table, or as Hugging Face lists them."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from autolora.errors import HubError, MissingArtifact

VALUE_BYTES = 2
"""Bytes of a number in a LoRA file, in a stored sketch, and in most models of hubs."""
PARTS = ("transformer", "text_encoder", "text_encoder_2", "vae")
HUB_BYTES: Mapping[str, Mapping[str, float]] = {
    "black-forest-labs/FLUX.1-dev": dict(zip(PARTS, (23.802e9, 0.246e9, 9.525e9, 0.168e9), strict=True)),
    "Qwen/Qwen2.5-VL-7B-Instruct": {"": 16.58e9},
    "llava-hf/llava-v1.6-mistral-7b-hf": {"": 15.13e9},
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": {"": 3.94e9},
    "sentence-transformers/all-MiniLM-L6-v2": {"": 0.09e9},
}
"""Bytes that are downloaded of each part of the profile's models."""
FILES = ("model_index.json", "config.json", "modules.json", "text_encoder/config.json", "publication.json")
"""Names of which each model, each publication, and each part of a pipeline that searches need, has at least one."""
PX_PER_TOKEN, LLAVA_TOKENS = 28**2, 5 * 24**2
"""Pixels per token of Qwen2.5-VL; tokens of each image in LLaVA-NeXT, which sees five tiles."""


def is_known(name: str) -> bool:
    """Return whether the size of a model is known without asking a hub."""
    return name in HUB_BYTES or Path(name).is_dir()


def is_here(name: str, revision: str | None) -> bool:
    """Return whether a model is a folder, or its download has begun before: the license was accepted then."""
    from huggingface_hub import try_to_load_from_cache

    cached = (Path(name).is_dir() or try_to_load_from_cache(name, file, revision=revision) for file in FILES)
    return any(path is True or isinstance(path, str) for path in cached)


@cache
def size_of(name: str, revision: str | None, part: str = "") -> tuple[float, float]:
    """Return the bytes and the number of a model's weights: of a folder, or of an id on Hugging Face.

    part: of a pipeline; both are 0 if a folder does not have it. Raises MissingArtifact if there are no weights,
    HubError if the hub does not answer.
    """
    if not Path(name).is_dir():
        listed = HUB_BYTES[name][part] if name in HUB_BYTES else _listed_bytes(name, revision, part)
        return listed, listed / VALUE_BYTES
    from safetensors import safe_open

    folder, size, number = Path(name) / part, 0.0, 0.0
    for file in folder.glob("*.safetensors"):
        size += file.stat().st_size
        with safe_open(file, "np") as tensors:
            number += sum(math.prod(tensors.get_slice(key).get_shape()) for key in [*tensors.keys()])
    if not size and (not part or folder.is_dir()):
        raise MissingArtifact(f"{folder} has no *.safetensors file: build or download the model again")
    return size, number


def _listed_bytes(name: str, revision: str | None, part: str) -> float:
    """Return the bytes of the weights that Hugging Face lists for a part of a model."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
    except (OSError, ValueError) as error:
        raise HubError(
            f"cannot ask for the size of {name}@{revision}: {error}; check the id, the revision and your access, or "
            "set a local folder in params.yaml"
        ) from error
    sizes = {Path(file.rfilename): float(file.size or 0) for file in files}
    return sum(
        size for path, size in sizes.items() if path.match("*.safetensors") and path.parent == Path(part)
    )


def image_tokens(name: str, px: float) -> float:
    """Return the number of tokens of an image with so many pixels in the prompt of a vision-language model."""
    config = Path(name) / "config.json"
    described = config.read_text(encoding="utf-8") if config.is_file() else name
    return LLAVA_TOKENS if "llava" in described else px / PX_PER_TOKEN
