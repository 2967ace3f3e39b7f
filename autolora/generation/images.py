"""Generation of images with the base pipeline and retrieved adapters; each image records how it was made."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin

from autolora import models
from autolora.errors import MismatchError
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.methods import choose_rule, to_adapter
from autolora.fusion.rules import Adapter
from autolora.generation.provenance import PROVENANCE_CHUNK, check_is_png, record_inputs
from autolora.lora.factors import Lora
from autolora.lora.slots import Slot, slots
from autolora.params import GenerationParams, Method, ModelsParams, PoolParams
from autolora.params.limits import check_hits, check_method, check_prompt, check_seed, check_types
from autolora.pool.weights import load_lora
from autolora.records import Hit
from autolora.storage.files import write_atomic
from autolora.wording import describe_unread

OnStep = Callable[[int], None]
FileState = tuple[int, int, int]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GeneratedImage:
    """A generated image and its provenance."""

    image: Image.Image
    provenance: dict[str, Any]
    """all that is needed to generate the image again, as JSON values"""


class Generator:
    """The base pipeline and the gates, each loaded on first use.

    So what is wrong with adapters, gates or arguments is said before the base model is loaded, which takes minutes.
    """

    def __init__(self, root: Path | str, base: ModelsParams, bounds: PoolParams) -> None:
        """bounds: limits on the adapters' weights. Raises ParamsError if the base model's device is not there."""
        models.set_threads(base)
        self.root = Path(root)
        self.base = base
        self.bounds = bounds

    @cached_property
    def pipeline(self) -> Any:
        """The base FluxPipeline. Raises MissingArtifact if it is missing or damaged."""
        return models.load_pipeline(self.base)

    @cached_property
    def transformer_config(self) -> dict[str, Any]:
        """The config of the base model's transformer. Raises MissingArtifact if it cannot be read."""
        return models.transformer_config(self.base)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots of the base model. Raises MissingArtifact if their config cannot be read."""
        return slots(self.transformer_config)

    @property
    def gates(self) -> Gates:
        """The trained gates, on the base model's device and in its dtype.

        Raises MissingArtifact if the stage `fusion` has not run.
        """
        return self._gates[0]

    @property
    def gates_digest(self) -> str:
        """The digest of `gates`: of their tensors, as they are stored, and their variant."""
        return self._gates[1]

    def follow_gates(self) -> None:
        """Load the gates again, when they are next used, if their file was replaced since they were loaded."""
        if "_gates" in vars(self) and self._gates[2] != self._gates_file():
            del self._gates

    @cached_property
    def _gates(self) -> tuple[Gates, str, FileState | None]:
        """The gates, their digest, and the state of their file: a training may replace it between two readings."""
        state = self._gates_file()
        gates = fusion.load(self.slots, fusion.folder(self.root))
        digest = fusion.hash_gates(gates)  # before `to`, which changes them in place
        return gates.to(self.base.device, models.dtype(self.base)), digest, state

    def _gates_file(self) -> FileState | None:
        """Return inode, size and time of modification of the file of the gates; None if there is none."""
        try:
            status = (fusion.folder(self.root) / fusion.WEIGHTS).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def load_lora(self, sha256: str) -> Lora:
        """Return the updates of an adapter of the pool. Raises MissingArtifact if its weights are missing."""
        return load_lora(self.root, sha256, self.slots, self.bounds)


def generate(
    generator: Generator,
    prompt: str,
    hits: Sequence[Hit],
    *,
    method: Method,
    seed: int,
    params: GenerationParams,
    on_step: OnStep | None = None,
) -> GeneratedImage:
    """Return an image of the prompt, generated with the adapters of `hits`; without hits, with the base model alone.

    seed: of the initial noise, from 0 to 2⁶³ - 1.
    on_step: called after each denoising step with the number of steps done; an exception ends the generation.
    If `params.trigger_words` says so, trigger words are added to the prompt; the provenance states the resulting text.
    Raises ValueError if the prompt is empty, the seed not in its range, or there is no such method; TypeError if
    `generator` or `params` has another type; TypeError, MissingArtifact and MismatchError as
    `check_hits` and `draw`.
    """
    if not isinstance(generator, Generator):
        raise TypeError(
            f"the generator is of type {type(generator).__name__}: give a Generator, which is made of the folder of a "
            "project: `Generator(folder, params.models, params.pool)`"
        )
    if not isinstance(params, GenerationParams):
        raise TypeError(f"params is of type {type(params).__name__}: give `params.generation`")
    check_prompt(prompt)
    check_seed(seed)
    check_method(method)
    check_hits(hits)
    acting = [hit for hit in hits if hit.strength != 0]
    loras = [generator.load_lora(hit.sha256) for hit in acting]
    text = _with_trigger_words(prompt, hits) if params.trigger_words else prompt
    [image] = draw(
        generator,
        [text],
        [to_adapter(hit, lora) for hit, lora in zip(acting, loras, strict=True)],
        [seed],
        method=method,
        params=params,
        on_step=on_step,
    )
    provenance = record_inputs(generator.base, prompt, hits, params)
    provenance |= {
        "text": text,
        "method": method,
        "seed": seed,
        "gates": generator.gates_digest if method == "gated" and acting else None,
    }
    return GeneratedImage(image=image, provenance=provenance)


def draw(
    generator: Generator,
    prompts: Sequence[str],
    adapters: Sequence[Adapter],
    seeds: Sequence[int],
    *,
    method: Method,
    params: GenerationParams,
    on_step: OnStep | None = None,
) -> list[Image.Image]:
    """Return one image per prompt, drawn with the adapters from the noise of its own seed.

    All images of this package and of the experiments are drawn here. The base model is loaded after the gates, as that
    takes minutes. on_step: as of `generate`.
    Raises MissingArtifact or MismatchError if gates or base model are missing, or the adapters do not fit it.
    """
    rule = choose_rule(adapters, method, lambda: generator.gates)
    pipeline = generator.pipeline
    with rule.attach(pipeline, adapters):
        for prompt in dict.fromkeys(prompts):
            for sentence in describe_cut(pipeline, prompt, params):
                logger.warning("%s", sentence)
        return generate_images(pipeline, prompts, seeds, params, on_step)


def add_trigger_words(prompt: str, hits: Sequence[Hit]) -> str:
    """Return the prompt followed by the first trigger word of each adapter, unless the prompt contains it already.

    Hubs list alternatives and whole prompts as further trigger words. The words are sorted, so that the order of the
    adapters does not matter. An adapter of strength 0 or below adds none. Raises TypeError as `check_types`.
    """
    check_types(hits)
    return _with_trigger_words(prompt, hits)


def _with_trigger_words(prompt: str, hits: Sequence[Hit]) -> str:
    first = sorted({hit.trigger_words[0] for hit in hits if hit.trigger_words and hit.strength > 0})
    return ", ".join([prompt, *(word for word in first if word.casefold() not in prompt.casefold())])


def describe_cut(pipeline: Any, text: str, params: GenerationParams) -> list[str]:
    """Return a sentence per text encoder of the pipeline that does not read a whole text."""
    sentences = []
    encoders = {
        "CLIP": (pipeline.tokenizer, pipeline.tokenizer.model_max_length),
        "T5": (pipeline.tokenizer_2, params.max_sequence_length),
    }
    for name, (tokenizer, limit) in encoders.items():
        parts = tokenizer(
            text,
            truncation=True,
            max_length=limit,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )["offset_mapping"]
        if len(parts) > 1:
            start = next(start for start, end in parts[1] if end > start)
            sentences.append(describe_unread(name, limit, text, start))
    return sentences


@torch.no_grad()
def generate_images(
    pipeline: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    params: GenerationParams,
    on_step: OnStep | None = None,
) -> list[Image.Image]:
    """Return one image per prompt, generated from the noise of its own seed, `params.batch` at a time.

    on_step: called after each denoising step of a batch with the number of its steps done.
    The other prompts of a batch change a pixel by at most 1/255, through rounding. Raises MismatchError if a latent is
    not a finite number.
    """
    images: list[Image.Image] = []
    for start in range(0, len(prompts), params.batch):
        batch = slice(start, start + params.batch)
        images += pipeline(
            prompt=list(prompts[batch]),
            width=params.width,
            height=params.height,
            num_inference_steps=params.steps,
            guidance_scale=params.guidance,
            max_sequence_length=params.max_sequence_length,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds[batch]],
            callback_on_step_end=partial(_end_step, params.steps, on_step),
        ).images
    return images


def _end_step(
    steps: int, on_step: OnStep | None, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
) -> dict[str, Any]:
    """Call `on_step` from the pipeline, which takes back the tensors that it passes to its callback."""
    if step + 1 == steps and not tensors["latents"].isfinite().all():
        raise MismatchError(
            "the image has values that are not finite numbers: use smaller strengths or fewer adapters, or set "
            "models.dtype to bfloat16 or float32 if it is float16"
        )
    if on_step is not None:
        on_step(step + 1)
    return tensors


def save_image(generated: GeneratedImage, path: Path | str) -> None:
    """Write an image as PNG with its provenance in a text chunk, atomically. Raises ValueError as `check_is_png`."""
    path = Path(path)
    check_is_png(path)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(PROVENANCE_CHUNK, json.dumps(generated.provenance, sort_keys=True, ensure_ascii=False))
    content = BytesIO()
    generated.image.save(content, "PNG", pnginfo=chunks)
    write_atomic(path, content.getvalue())
