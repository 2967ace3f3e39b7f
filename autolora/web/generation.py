"""Generates the images of jobs with the base model, which is loaded for the first one, and the gates on disk."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.extras import libraries_for
from autolora.gpu_memory import naming_what_to_lower
from autolora.params import Params
from autolora.web.jobs import Job

if TYPE_CHECKING:
    from autolora.generation.images import Generator


class ImageGeneration:
    """The base model, and the folder of the images: images/serve/."""

    def __init__(self, root: Path, params: Params) -> None:
        self._root, self._params = root, params
        self._generator: Generator | None = None

    def generate(self, job: Job, on_step: Callable[[int], None]) -> None:
        """Generate the image of a job. Raises MissingArtifact if weights or the base model are missing."""
        with libraries_for("the generation of images"):
            from autolora.generation import images
            from autolora.generation.provenance import describe_provenance

        request = job.request
        params = replace(self._params.generation, trigger_words=request.trigger_words)
        if self._generator is None:
            self._generator = images.Generator(self._root, self._params.models, self._params.pool)
        self._generator.follow_gates()
        on_step(0)
        with naming_what_to_lower("generate"):
            image = images.generate(
                self._generator,
                request.prompt,
                request.hits,
                method=request.method,
                seed=request.seed,
                params=params,
                on_step=on_step,
            )
        path = self._root / "images" / "serve" / f"{job.id}.png"
        images.save_image(image, path)
        job.file, job.facts = path, describe_provenance(image.provenance)
        job.notes += images.describe_cut(self._generator.pipeline, image.provenance["text"], params)

    def release(self) -> None:
        """Give the memory of the base model back; the next image loads it again."""
        if self._generator is None:
            return
        import torch

        self._generator = None
        gc.collect()
        torch.cuda.empty_cache()
