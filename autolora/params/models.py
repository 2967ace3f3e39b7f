"""The sections of the models: the base pipeline, the VLM and its servers, and the judges."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from autolora.storage.bounds import Bound

Memory = Literal["offload", "8bit", "4bit", "sequential"]
MEMORY: tuple[Memory | None, ...] = (None, *get_args(Memory))
"""in the order in which they are proposed: exact and fast, exact, close to it, less close, exact and slow"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsParams:
    """The base pipeline and the VLM; a stage that loads one of them depends on its name and revision."""

    pipeline: str
    """diffusers FluxPipeline: a local folder or a Hugging Face id"""
    pipeline_revision: str | None
    """commit of the hub repository; required with an id, null with a folder"""
    vlm: str
    """vision-language model that writes captions: a local folder or a Hugging Face id"""
    vlm_revision: str | None
    """as `pipeline_revision`"""
    device: str
    """torch device of all models: cpu, or cuda for an NVIDIA GPU"""
    dtype: Literal["float32", "bfloat16", "float16"]
    """precision of the base pipeline"""
    memory: Memory | None
    """how images are drawn on a GPU that is too small for the base pipeline: with the part on the card that runs
    (offload), or the layer (sequential), or with transformer and T5 in 8 or 4 bits; null: all parts are on the card"""
    threads: int
    """CPU threads of torch; 0 keeps torch's default"""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmParams:
    """Connection to the vLLM servers. Outputs do not depend on it, so no stage lists it in dvc.yaml."""

    urls: Annotated[tuple[str, ...], Bound("a list of at least one URL", bool)]
    """base URL of each server's OpenAI-compatible API; requests are balanced over the servers"""
    timeout_s: float = 300.0
    """seconds per request"""
    attempts: int = 24
    """attempts per request, 1, 2, 4, 8, 8, … seconds apart: a server's restart may take minutes"""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgesParams:
    """The models that score generated images; none of them should generate images or write captions."""

    clip: str
    """transformers CLIPModel: a local folder or a Hugging Face id"""
    clip_revision: str | None
    """commit of the hub repository; required with an id, null with a folder"""
    vlm: str
    """vision-language model that answers the question: a local folder or a Hugging Face id"""
    vlm_revision: str | None
    """as `clip_revision`"""
    classifier: str | None
    """folder of a transformers image classifier with labels `field:value`; null: no classifier"""
    question: str = 'Does this picture show "{text}"? Please answer yes or no.'
    """of VQAScore; {text} stands for the text that the image should show"""
    batch: int = 4
    """images per forward pass"""
