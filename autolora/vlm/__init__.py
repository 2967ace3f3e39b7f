"""Asking a vision-language model about pictures: in process, or through a vLLM server of the same model.

The server is asked for the model by its digest (`serve/start.sh` serves it under that name), so answers of
another model cannot slip in. Prompts reach both engines through the model's own chat template.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autolora.errors import MissingArtifact, ParamsError
from autolora.params import CaptionsParams, JudgesParams, ModelsParams, VllmParams
from autolora.storage.files import hash_folder
from autolora.vlm.inprocess import InProcess
from autolora.vlm.served import Served

if TYPE_CHECKING:
    from PIL import Image


class Captioner(Protocol):
    """An engine that describes pictures."""

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        """Answer the instruction for each picture, greedily, in at most `max_tokens` tokens.

        Yields a picture's place in `images` and its answer, in the order in which they are answered.
        Raises CaptionError when the engine is down or answers nonsense; what else is answered comes first.
        """
        ...


class Witness(Protocol):
    """An engine that answers questions about pictures with yes or no."""

    def yes(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return the probability of yes, of yes and no, as the first token of each picture's answer.

        Raises MismatchError when the model has no such tokens, CaptionError when the engine is down or the
        answer begins with neither.
        """
        ...


def yes(
    witness: Witness, images: "Sequence[Image.Image]", texts: Sequence[str], question: str
) -> list[float]:
    """Return how likely each picture shows its text, 0 to 1: VQAScore with this question about `{text}`.

    Raises as Witness.yes does.
    """
    return witness.yes(images, [question.replace("{text}", text) for text in texts])


def digest(params: ModelsParams | JudgesParams) -> str:
    """Return what the VLM is known by: the sha256 over its folder, or `id@revision` of a hub's model.

    Raises MissingArtifact when it is neither, ParamsError when a hub's model names no revision.
    """
    folder = Path(params.vlm)
    section = "judges" if isinstance(params, JudgesParams) else "models"
    if folder.is_dir():
        return hash_folder(folder)
    if params.vlm.startswith((".", "/", "~")) or params.vlm.count("/") != 1:
        raise MissingArtifact(
            f"{section}.vlm is {params.vlm}, which is no folder here and no hub id (owner/name): "
            "build the playground's model (`make playground`) or name another"
        )
    if params.vlm_revision is None:
        raise ParamsError(
            f"{section}.vlm_revision is null but {section}.vlm is the hub id {params.vlm}: "
            "name a commit, so that answers tell which model gave them"
        )
    return f"{params.vlm}@{params.vlm_revision}"


@cache
def captioner(params: ModelsParams, captions: CaptionsParams, vllm: VllmParams) -> Captioner:
    """Return the engine that `captions.engine` names, once a process.

    Raises CaptionError when no vLLM server answers, or one that serves another model.
    """
    if captions.engine == "transformers":
        return InProcess(params, captions.batch)
    server = Served(vllm, digest(params), captions.concurrency)
    server.check()
    return server


@cache
def judge(params: JudgesParams, place: ModelsParams, vllm: VllmParams) -> Witness:
    """Return the judge VLM in the engine that `judges.engine` names, once a process.

    place: where and how precisely a model in process runs.
    Raises CaptionError when no vLLM server answers, or one that serves another model.
    """
    if params.engine == "transformers":
        return InProcess(replace(place, vlm=params.vlm, vlm_revision=params.vlm_revision), params.batch)
    server = Served(vllm, digest(params), params.batch, "judges")
    server.check()
    return server
