"""What files are inspected with: a base model and, if there is one, an encoder with its text encoder and an index."""

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from autolora.encoder import store as encoder_store
from autolora.encoder.tags import load_tags
from autolora.errors import AutoLoraError, MismatchError, MissingArtifact
from autolora.index.copies import Index
from autolora.index.served import open_index
from autolora.inspection.base_model import BaseModel, bounds_of, open_base_model
from autolora.inspection.description import Describer
from autolora.inspection.neighbors import open_neighbors
from autolora.params import ModelsParams, Params
from autolora.publication.encoder import PublishedEncoder, load_published
from autolora.stages import is_pipeline
from autolora.text_encoder.clip import load_numpy_text_encoder

NO_TAGS = (
    "the encoder has no tags, so no words say what files do: give one with tags (--encoder), as `autolora publish` "
    "writes it in a project that has trained it"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What files are inspected with."""

    base: BaseModel
    describer: Describer | None
    index: Index | None
    """the served index of the surrounding project, which states what it knows about files"""
    note: str
    """why there are no words and nearest adapters, or why not all; empty if nothing is missing"""


def open_setup(
    root: Path | None,
    params: Params | None,
    *,
    pipeline: str | None,
    encoder: str | None,
) -> Setup:
    """Return what files are inspected with.

    root, params: of the project, which is the working directory; None outside of one. pipeline: as of
    `open_base_model`. encoder: folder or hub id of a publication with an encoder; None: the one that the project has
    trained, if it can be used.
    Raises AutoLoraError if what is named does not exist or does not fit.
    """
    index, problem = _served_index(root)
    if encoder is not None:
        setup = _with_published(load_published(encoder), params, pipeline)
        notes = (setup.note, f"files are not looked up in the index: {problem}" if problem else "")
        return replace(setup, index=index, note="; ".join(filter(None, notes)))
    base = open_base_model(pipeline, params)
    if root is None or params is None:
        return Setup(base=base, describer=None, index=None, note="give an encoder (--encoder) for words")
    try:
        describer = _project_describer(root, params, base, index)
    except AutoLoraError as error:
        note = f"no words and nearest adapters ({error}): give an encoder (--encoder)"
        return Setup(base=base, describer=None, index=index, note=note)
    return Setup(base=base, describer=describer, index=index, note=_with_tags_note(describer))


def prepare_process() -> None:
    """Adapt torch and the garbage collector to a process that only inspects files.

    Files are processed in threads, and the products of their sketches are too small for more of them: torch uses one
    thread. What is imported is never garbage: collections during the inspection, which stop all threads, skip it.
    """
    torch.set_num_threads(1)
    gc.freeze()


def _served_index(root: Path | None) -> tuple[Index | None, str]:
    """Return the served index of a project, and why there is none; None and an empty text outside of a project."""
    if root is None:
        return None, ""
    try:
        return open_index(root), ""
    except AutoLoraError as error:
        return None, str(error)


def _with_published(published: PublishedEncoder, params: Params | None, pipeline: str | None) -> Setup:
    """Return the setup of a published encoder; the base model is its own unless a pipeline is named."""
    config = published.encoder.config
    bounds = bounds_of(params)
    bounds = replace(bounds, sketch_size=config.sketch_size or bounds.sketch_size)
    base = BaseModel(
        name=f"the base model of {published.folder}", transformer=config.transformer, bounds=bounds
    )
    if pipeline is not None:
        base = replace(open_base_model(pipeline, params), bounds=bounds)
    own = ModelsParams(
        pipeline=str(published.pipeline.absolute()), pipeline_revision=None, vlm="", vlm_revision=None, device="cpu",
        dtype="float32", threads=0, memory=None,
    )  # fmt: skip
    with TemporaryDirectory() as cache:  # outside of a project nothing is stored
        text_encoder = load_numpy_text_encoder(Path(cache), own, published.tokenizers)
    published.check_fits(base.transformer, text_encoder.digest, bounds.sketch_size)
    describer = Describer(published.encoder, text_encoder, None, published.tags)
    note = "" if params is None else "nearest adapters are found with the project's own encoder only"
    return Setup(base=base, describer=describer, index=None, note=_with_tags_note(describer, note))


def _project_describer(root: Path, params: Params, base: BaseModel, index: Index | None) -> Describer:
    """Return the trained encoder and the served index of a project."""
    if params.encoder.from_ is None and not is_pipeline(root):
        raise MissingArtifact("this project has no encoder")
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    config = encoder.config
    if config.canonical != base.slots:
        raise MismatchError(
            f"the project's encoder was trained for another base model than {base.description}"
        )
    if config.sketch_key not in (None, base.spec.key):
        raise MismatchError(
            f"the project's encoder reads sketches of the kind {config.sketch_key}, but pool.sketch_size gives "
            f"{base.spec.key}: run `dvc repro encoder`"
        )
    text_encoder = load_numpy_text_encoder(root, params.models, index.tokenizers if index else {})
    tags = load_tags(encoder_store.folder(root))
    return Describer(encoder, text_encoder, open_neighbors(root), tags)


def _with_tags_note(describer: Describer, note: str = "") -> str:
    """Return a note, and that the encoder has no tags if so."""
    return "; ".join(filter(None, ("" if describer.has_tags else NO_TAGS, note)))
