"""The models that params.yaml names: folders, and downloads from Hugging Face with their sizes and what is here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autolora.hubs.huggingface.repositories import is_hub_id
from autolora.model_sizes import FILES, HUB_BYTES, is_here
from autolora.params import Params


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
        return int(sum(HUB_BYTES.get(self.id, {}).values()))

    @property
    def is_id(self) -> bool:
        """Whether it is the id of a model on Hugging Face, with a revision."""
        return bool(self.revision) and is_hub_id(self.id)

    @property
    def is_here(self) -> bool:
        """Whether its download has begun before: the license was accepted then."""
        return is_here(self.id, self.revision)

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
