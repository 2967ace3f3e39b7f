"""Generates the images of jobs with the base model, which is loaded for the first one, and the gates on disk."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.errors import MissingArtifact
from autolora.extras import libraries_for
from autolora.gpu_memory import naming_what_to_lower
from autolora.params import Params
from autolora.records import Hit
from autolora.web.jobs import ImageRequest, Job
from autolora.web.served import ServedIndex

if TYPE_CHECKING:
    from autolora.generation.images import Generator


class ImageGeneration:
    """The base model, and the folder of the images: images/serve/."""

    def __init__(self, root: Path, params: Params, served: ServedIndex) -> None:
        self._root, self._params, self._served = root, params, served
        self._generator: Generator | None = None

    def generate(self, job: Job, on_step: Callable[[int], None]) -> None:
        """Generate the image of a job. Raises MissingArtifact if weights or the base model are missing."""
        with libraries_for("the generation of images"):
            from autolora.generation import images
            from autolora.generation.provenance import describe_provenance

        request = job.request
        if self._generator is None:
            self._generator = images.Generator(self._root, self._params.models, self._params.pool)
        self._generator.follow_gates()
        on_step(0)
        with naming_what_to_lower("generate"):
            image = images.generate(
                self._generator,
                request.prompt,
                self._hits(request),
                method=request.method,
                seed=request.seed,
                params=replace(self._params.generation, trigger_words=request.trigger_words),
                on_step=on_step,
            )
        path = self._root / "images" / "serve" / f"{job.id}.png"
        images.save_image(image, path)
        job.file, job.facts = path, describe_provenance(image.provenance)

    def release(self) -> None:
        """Give the memory of the base model back; the next image loads it again."""
        if self._generator is None:
            return
        import torch

        self._generator = None
        gc.collect()
        torch.cuda.empty_cache()

    def _hits(self, request: ImageRequest) -> Sequence[Hit]:
        """Return the adapters of an image, each with its strength."""
        if request.adapters == ():
            return []
        if self._served.current is None:
            raise MissingArtifact(f"no adapter can be used: {self._served.problem}")
        return self._served.current.retriever.choose(request.prompt, request.adapters or ())
