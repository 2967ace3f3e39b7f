"""The models that params.yaml names: folders, and downloads from Hugging Face with their sizes and what is here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autolora.hubs.huggingface.repositories import is_hub_id
from autolora.params import Params
from autolora.publication.manifest import MANIFEST

SIZES = {
    "black-forest-labs/FLUX.1-dev": 33_700_000_000,
    "Qwen/Qwen2.5-VL-7B-Instruct": 16_600_000_000,
    "llava-hf/llava-v1.6-mistral-7b-hf": 15_100_000_000,
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": 3_900_000_000,
    "sentence-transformers/all-MiniLM-L6-v2": 90_000_000,
}
"""bytes that are downloaded of the models in the profile; others count as 0"""
FILES = ("model_index.json", "config.json", "modules.json", "text_encoder/config.json", MANIFEST)
"""Names of which each model, each publication, and each part of a pipeline that searches need, has at least one."""


@dataclass(frozen=True, slots=True)
class Model:
    """A folder, or a model on Hugging Face."""

    id: str
    revision: str | None
    key: str
    """of params.yaml, which names it"""
    is_needed: bool = True
    """whether a release needs it"""

    @property
    def size(self) -> int:
        """Bytes that are downloaded; 0 if unknown."""
        return SIZES.get(self.id, 0)

    @property
    def is_id(self) -> bool:
        """Whether it is the id of a model on Hugging Face, with a revision."""
        return bool(self.revision) and is_hub_id(self.id)

    @property
    def is_here(self) -> bool:
        """Whether its download has begun before: the license was accepted then."""
        from huggingface_hub import try_to_load_from_cache

        return any(
            isinstance(try_to_load_from_cache(self.id, file, revision=self.revision), str) for file in FILES
        )

    def is_folder(self, root: Path) -> bool:
        """Whether it is the folder of a model, absolute or relative to a root."""
        return any((root / Path(self.id).expanduser() / file).is_file() for file in FILES)


def models_of(params: Params, is_pipeline: bool) -> list[Model]:
    """Return the models that commands of a project download. is_pipeline: whether it runs all stages."""
    return [model for model in named_models(params, is_pipeline) if model.is_id]


def named_models(params: Params, is_pipeline: bool) -> Iterator[Model]:
    """Yield the models of params.yaml that commands of a project read, but no id that only a vLLM server reads."""
    models, judges, encoder = params.models, params.judges, params.encoder
    if encoder.has_language:
        yield Model(encoder.language, encoder.language_revision, "encoder.language")
    if encoder.from_:
        yield Model(encoder.from_, encoder.from_revision, "encoder.from")
    vlm = Model(models.vlm, models.vlm_revision, "models.vlm")
    if params.captions.engine == "transformers" or (params.captions.engine and not vlm.is_id):
        yield vlm
    if is_pipeline:
        yield Model(models.pipeline, models.pipeline_revision, "models.pipeline")
        yield Model(judges.clip, judges.clip_revision, "judges.clip", is_needed=False)
        yield Model(judges.vlm, judges.vlm_revision, "judges.vlm", is_needed=False)
        if judges.classifier:
            yield Model(judges.classifier, None, "judges.classifier", is_needed=False)
