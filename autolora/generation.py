"""Generation: pictures by the base pipeline with the adapters that retrieval found, and their provenance."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from autolora import models
from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates, calibrate
from autolora.fusion.install import fused
from autolora.params import GenerationParams, ModelsParams, PoolParams
from autolora.pool.weights import load_lora
from autolora.records import Hit
from autolora.slots import Slot, slots
from autolora.storage.files import write_atomic

PROVENANCE = "autolora"
"""name of the PNG's text chunk"""

Method = Literal["gated", "direct"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A generated picture and how to make it again."""

    image: Image.Image
    provenance: dict[str, Any]


class Generator:
    """The base pipeline, loaded once, and the gates, loaded when a method asks for them."""

    def __init__(self, root: Path, base: ModelsParams, bounds: PoolParams) -> None:
        """Load the pipeline.

        Raises MissingArtifact when it is not there.
        """
        models.set_threads(base)
        self.root = root
        self.base = base
        self.bounds = bounds
        self.pipeline = models.load_pipeline(base)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots of the base."""
        return slots(self.pipeline.transformer.config)

    @cached_property
    def gates(self) -> Gates:
        """The trained gates, in the base's place and precision; MissingArtifact when there are none."""
        gates = fusion.load(self.slots, fusion.folder(self.root))
        return gates.to(self.base.device, models.dtype(self.base))

    @cached_property
    def gates_digest(self) -> str:
        """The digest of the gates, as `digests/fusion.json` has it."""
        return fusion.digest(fusion.load(self.slots, fusion.folder(self.root)))


def generate(
    generator: Generator,
    prompt: str,
    hits: Sequence[Hit],
    *,
    method: Method,
    seed: int,
    params: GenerationParams,
) -> Picture:
    """Draw a prompt with the adapters of its hits; none gives the base's own picture.

    Trigger words are not added to the prompt; the provenance names them.
    Raises MissingArtifact when gates or weights are missing, MismatchError when they fit another base.
    """
    loras = [load_lora(generator.root, hit.sha256, generator.slots, generator.bounds) for hit in hits]
    relevance = calibrate([hit.score for hit in hits], params.relevance_floor, params.relevance_ceiling)
    gates = generator.gates if method == "gated" else None
    with fused(generator.pipeline.transformer, loras, gates=gates, relevance=relevance):
        image = images(generator.pipeline, [prompt], [seed], params)[0]
    facts = _provenance(generator, prompt, hits, relevance, params) | {"method": method, "seed": seed}
    return Picture(image=image, provenance=facts | {"gates": generator.gates_digest if gates else None})


@torch.no_grad()
def images(
    pipeline: Any, prompts: Sequence[str], seeds: Sequence[int], params: GenerationParams
) -> list[Image.Image]:
    """Draw prompts, each from the noise of its own seed, `params.batch` at once.

    What else is in the batch does not matter, but for the last bit of a float: 1/255 in a pixel at most.
    """
    made: list[Image.Image] = []
    for start in range(0, len(prompts), params.batch):
        part = slice(start, start + params.batch)
        made += pipeline(
            prompt=list(prompts[part]),
            width=params.width,
            height=params.height,
            num_inference_steps=params.steps,
            guidance_scale=params.guidance,
            max_sequence_length=params.max_sequence_length,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
        ).images
    return made


def save(picture: Picture, path: Path) -> None:
    """Write a picture as PNG with its provenance in a text chunk, atomically."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(PROVENANCE, json.dumps(picture.provenance, sort_keys=True, ensure_ascii=False))
    content = BytesIO()
    picture.image.save(content, "PNG", pnginfo=chunks)
    write_atomic(path, content.getvalue())


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance of a generated PNG.

    Raises MissingArtifact when the file is none.
    """
    try:
        with Image.open(path) as image:
            image.load()
            text = image.info.get(PROVENANCE)
    except (OSError, UnidentifiedImageError) as error:
        raise MissingArtifact(f"cannot read {path} as a picture: {error}") from error
    if text is None:
        raise MissingArtifact(
            f"{path} carries no provenance: it was not made by `autolora generate`, or re-saved"
        )
    facts: dict[str, Any] = json.loads(text)
    return facts


def _provenance(
    generator: Generator,
    prompt: str,
    hits: Sequence[Hit],
    relevance: Sequence[float],
    params: GenerationParams,
) -> dict[str, Any]:
    """Return what is needed to draw the picture again, and who made its adapters."""
    return {
        "autolora": version("autolora"),
        "prompt": prompt,
        "adapters": [
            {
                "sha256": hit.sha256,
                "hub": hit.hub,
                "id": hit.id,
                "file": hit.file,
                "license": hit.license,
                "score": hit.score,
                "relevance": fit,
                "trigger_words": list(hit.trigger_words),
            }
            for hit, fit in zip(hits, relevance, strict=True)
        ],
        "index": hits[0].index if hits else None,
        "base": {"pipeline": generator.base.pipeline, "revision": generator.base.pipeline_revision},
        "generation": asdict(params),
    }
