"""Vision-language models: captions of images and answers to yes-or-no questions about them.

Questions are answered by a model in this process, captions also by vLLM servers. Requests name the model by its
digest, which is the name under which `autolora vllm` serves it, so a server with another model refuses them. Both
engines format prompts with the model's own chat template.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autolora.errors import MissingArtifact, ParamsError
from autolora.params import CaptionsParams, JudgesParams, ModelsParams, VllmParams
from autolora.storage.hashes import hash_folder
from autolora.vlm.captioning import Answer, Captioner, CaptionRequest, FailedImage
from autolora.vlm.in_process import InProcessModel
from autolora.vlm.vllm_client import VllmClient

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Answer", "CaptionRequest", "Captioner", "FailedImage"]


class YesNoScorer(Protocol):
    """A model that answers yes-or-no questions about images."""

    def yes_probabilities(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return P(yes) / (P(yes) + P(no)) of the answer's first token, for each image and its question.

        Raises MismatchError if the tokenizer has no single tokens for yes and no.
        """
        ...


def vqa_scores(
    scorer: YesNoScorer, images: "Sequence[Image.Image]", texts: Sequence[str], question: str
) -> list[float]:
    """Return the VQAScore of each image and its text, 0 to 1: the probability that the image shows the text.

    question: contains `{text}`. Raises as YesNoScorer.yes_probabilities.
    """
    return scorer.yes_probabilities(images, [question.replace("{text}", text) for text in texts])


def digest(params: ModelsParams | JudgesParams) -> str:
    """Return the identity of the VLM: the sha256 over its folder, or `id@revision` of a model on a hub.

    Raises MissingArtifact if `vlm` is neither a folder nor a hub id, ParamsError if a hub id has no revision.
    """
    folder = Path(params.vlm)
    section = "judges" if isinstance(params, JudgesParams) else "models"
    if folder.is_dir():
        return hash_folder(folder)
    if params.vlm.startswith((".", "/", "~")) or params.vlm.count("/") != 1:
        raise MissingArtifact(
            f"{section}.vlm is {params.vlm}, which is neither an existing folder nor a hub id (owner/name): "
            "build the playground's model (`make playground`) or set another model in params.yaml"
        )
    if params.vlm_revision is None:
        raise ParamsError(
            f"{section}.vlm_revision is null but {section}.vlm is the hub id {params.vlm}: "
            "set it to a commit, so that the digest identifies the model"
        )
    return f"{params.vlm}@{params.vlm_revision}"


@cache
def captioner(params: ModelsParams, captions: CaptionsParams, vllm: VllmParams) -> Captioner:
    """Return the engine that `captions.engine` names; created once per process.

    Raises ParamsError if it names none, CaptionError if no vLLM server answers or a server has another model.
    """
    if captions.engine is None:
        raise ParamsError("captions.engine is null: set it to transformers or vllm to caption images")
    if captions.engine == "transformers":
        return InProcessModel(params, captions.batch)
    command = "autolora vllm --cpu" if params.device == "cpu" else "autolora vllm"
    client = VllmClient(vllm, digest(params), captions.batch, command)
    client.check()
    return client


@cache
def yes_no_scorer(params: JudgesParams, models: ModelsParams) -> YesNoScorer:
    """Return the judge VLM, loaded once per process. models: its device, dtype and threads."""
    return InProcessModel(replace(models, vlm=params.vlm, vlm_revision=params.vlm_revision), params.batch)
