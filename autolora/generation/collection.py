"""A collection of adapters for a user of diffusers: search it, and fuse what is found into a loaded pipeline.

    import autolora

    collection = autolora.open(".")
    hits = collection.search("a cat in mosaic style", k=3, where="license = 'mit' and not nsfw")
    with collection.fuse(pipe, hits):
        image = pipe("a cat in mosaic style").images[0]

Hooks on the linears of the pipeline's transformer add what the adapters change (autolora.fusion.install), so no weight
of it is changed.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion.base_model import check_base_model, transformer_slots
from autolora.generation.weights import AdapterWeights, ProjectWeights, PublishedWeights
from autolora.hubs.huggingface.repositories import cache_folder, download, is_hub_id
from autolora.index.copies import check_foreign, open_copy
from autolora.index.served import copy_path
from autolora.params import Method
from autolora.params import load as load_params
from autolora.params.limits import check_hits
from autolora.publication.manifest import (
    INDEX_PARTS,
    PIPELINE,
    PoolSettings,
    is_published,
    patterns,
    read_manifest,
)
from autolora.records import Hit
from autolora.search.retriever import Conditions, Retriever, open_retriever
from autolora.storage.hash_cache import cached_hashes
from autolora.text_encoder.clip import read_text_encoder

if TYPE_CHECKING:  # a search does not import torch
    from PIL.Image import Image

    from autolora.fusion.gate import Gates
    from autolora.fusion.install import Attachment
    from autolora.lora.slots import Slot
    from autolora.search.reasons import Reasons

    Describe = Callable[[Image], str]

_attached: "WeakKeyDictionary[Any, Attachment]" = WeakKeyDictionary()
"""transformer of a loaded pipeline -> what removes its adapters"""


class Pipeline(Protocol):
    """A loaded pipeline of diffusers with the transformer of FLUX: text to image, image to image, Fill, Kontext."""

    transformer: Any


def keep(pipeline: Pipeline, attachment: "Attachment") -> None:
    """Keep what has been attached to a pipeline until `detach`."""
    _attached[transformer_of(pipeline)] = attachment


def detach(pipeline: Pipeline) -> None:
    """Remove the adapters of a pipeline, if there are any."""
    attachment = _attached.pop(transformer_of(pipeline), None)
    if attachment is not None:
        attachment.close()


def attachment_of(pipeline: Pipeline) -> "Attachment | None":
    """Return what is attached to a pipeline."""
    return _attached.get(transformer_of(pipeline))


def transformer_of(pipeline: Pipeline) -> Any:
    """Return the transformer itself, which torch.compile may have wrapped."""
    transformer = getattr(pipeline, "transformer", None)
    if transformer is None:
        raise TypeError(
            f"expected a pipeline of diffusers with a transformer, such as FluxPipeline, not {type(pipeline).__name__}"
        )
    return getattr(transformer, "_orig_mod", transformer)


class Collection:
    """The adapters of one index, and their weights; `autolora.open` returns it.

    Any number of threads may search at the same time. `fuse`, `attach` and `detach` change a pipeline: call them from
    the thread that uses it. Hits are of the index that was served when the collection was opened.
    """

    def __init__(
        self,
        root: Path,
        settings: PoolSettings,
        retriever: Retriever,
        weights: AdapterWeights,
        describe: "Describe",
    ) -> None:
        """Combine what `autolora.open` has opened; root: folder of the project or published index."""
        self.root, self.settings, self.retriever, self._weights = root, settings, retriever, weights
        self._base_slots = cache(weights.base_slots)  # of a pipeline on a hub, reading them asks the hub
        self._describe, self._describing = describe, Lock()

    def __len__(self) -> int:
        """Return the number of adapters that can be found."""
        return len(self.retriever.index.rows)

    def __repr__(self) -> str:
        return (
            f"<Collection of {len(self)} adapters in {self.root}, index {self.retriever.index.digest[:12]}>"
        )

    def search(self, prompt: str, k: int | None = None, where: Conditions = None) -> list[Hit]:
        """Return the k adapters that fit a prompt best, best first; as `Retriever.search`."""
        return self.retriever.search(prompt, k, where)

    def select(self, prompt: str, where: Conditions = None, unsure: bool = False) -> list[Hit]:
        """Return one adapter for each thing that a prompt asks for; as `Retriever.select`."""
        return self.retriever.select(prompt, where, unsure)

    def named(self, prompt: str, names: Sequence[str] | Mapping[str, float]) -> list[Hit]:
        """Return adapters by name, with a strength each if `names` is a mapping; as `Retriever.named`."""
        return self.retriever.named(prompt, names)

    def reasons(self, prompt: str, hits: Sequence[Hit]) -> "list[Reasons]":
        """Return why a search for the prompt has found each hit; as `Retriever.reasons`."""
        return self.retriever.reasons(prompt, hits)

    def describe(self, image: "Path | str | Image") -> str:
        """Return the caption of an image, a prompt for `search` and `select`, by the model that captions the pool's.

        image: a file, or an image of Pillow. The first call loads the model; threads wait for each other.
        Raises RefusedFile if the file is no image or too large, MissingArtifact if it cannot be read, or the pool is a
        published index; or as `autolora.search.by_image.describe_image`.
        """
        from autolora.search.by_image import open_image

        opened = open_image(image, self.settings.pool)
        with self._describing:
            return self._describe(opened)

    @contextmanager
    def fuse(
        self,
        pipeline: Pipeline,
        hits: Sequence[Hit],
        *,
        method: Method | None = None,
    ) -> Iterator[None]:
        """Let the adapters of hits act in a pipeline inside the `with` block; afterwards it is as it was before.

        Each adapter acts with its `Hit.strength`. method: "direct" adds the updates, "gated" passes them through the
        trained gates, which know the relevance of each hit.
        Default: `generation.method` in params.yaml. The order of the hits does not matter.
        Adapters that the pipeline holds by PEFT (`load_lora_weights`) stay active, and its weights may be quantized or
        offloaded.
        Raises MissingArtifact if weights or gates are missing, MismatchError if they do not fit the pipeline, if the
        hits are not within `autolora.params.limits` (number, strength, relevance, each given once), or if the pipeline
        already has adapters of a collection, TypeError if `hits` is not a list of hits or `pipeline` is no pipeline,
        ValueError if there is no such method.
        """
        if attachment_of(pipeline) is not None:
            raise MismatchError(
                "the pipeline already has adapters of a collection: leave the `with` block of `fuse`, or call "
                "`collection.detach(pipeline)`; to use both sets, fuse `[*hits, *others]`"
            )
        self.attach(pipeline, hits, method=method)
        attachment = attachment_of(pipeline)
        try:
            yield
        finally:
            if attachment_of(pipeline) is attachment:
                self.detach(pipeline)

    def attach(
        self,
        pipeline: Pipeline,
        hits: Sequence[Hit],
        *,
        method: Method | None = None,
    ) -> None:
        """Let the adapters of hits act in a pipeline until `detach`, instead of those attached before.

        Arguments and errors as `fuse`; after an error the pipeline has the adapters that it had before.
        """
        from autolora.fusion.methods import attach, to_adapter  # here, because they import torch

        check_hits(hits)
        transformer_of(pipeline)  # raises if it has none
        slots, generation = transformer_slots(pipeline.transformer), self.settings.generation
        if hits:
            check_base_model(slots, self._base_slots())
        acting = [hit for hit in hits if hit.strength != 0]
        adapters = [to_adapter(hit, self._weights.load(hit.sha256, slots)) for hit in acting]
        method = method or generation.method
        with attach(pipeline, adapters, method, lambda: self._load_gates(slots)) as attached:
            attachment = attached.pop_all()
        detach(pipeline)
        if hits:
            keep(pipeline, attachment)

    def detach(self, pipeline: Pipeline) -> None:
        """Remove the adapters that `attach` or `fuse` has added, of this or another collection, if there are any."""
        detach(pipeline)

    def _load_gates(self, slots: "Sequence[Slot]") -> "Gates":
        from autolora.fusion.store import folder, load

        return load(slots, folder(self.root))


def open_collection(source: Path | str, revision: str | None = None) -> Collection:
    """Return the collection of a project, or of a published index.

    source: the folder of a project, which contains params.yaml; or the folder of an index that
    `autolora publish` has written, or its id on Hugging Face (owner/name). revision: a commit, branch or tag, of
    the project, whose index is searched instead of the served one, or of the id; None is the current version.
    Raises ParamsError if there is no params.yaml, MissingArtifact if a part is missing or damaged, MismatchError if
    parts do not belong together, HubError if a download fails.
    """
    folder = Path(source).expanduser().absolute()
    if is_published(folder):
        return _open_published(folder)
    if is_hub_id(source):
        return _open_published(download(str(source), revision, patterns(*INDEX_PARTS)))
    if not folder.is_dir():
        raise MissingArtifact(
            f"{source} is neither an existing folder nor a Hugging Face id (owner/name): give the folder of a project "
            "or of a published index, or an id"
        )
    return _open_project(folder, revision)


def _open_project(root: Path, revision: str | None) -> Collection:
    if not (root / "params.yaml").exists() and any(root.glob("*.safetensors")):
        raise MissingArtifact(
            f"{root} holds LoRA files, but is not a project: make a project with `autolora index "
            f"{shlex.quote(str(root))}`, and open the folder that contains its params.yaml"
        )
    params = load_params(root / "params.yaml")
    settings, retriever = PoolSettings.of(params), open_retriever(root, revision, params)

    weights = ProjectWeights(root, params.models, params.pool)

    def describe(image: "Image") -> str:
        from autolora.search.by_image import describe_image

        return describe_image(root, params, image)

    return Collection(root, settings, retriever, weights, describe)


def _open_published(folder: Path) -> Collection:
    published = read_manifest(folder)
    manifest = published.index
    if manifest is None:
        raise MissingArtifact(
            f"{folder} is a publication without an index: its encoder reads your own files (`autolora index FOLDER "
            f"--encoder {shlex.quote(str(folder))}`)"
        )
    with cached_hashes(cache_folder("hashes") / f"{manifest.digest}.json") as hash_file:
        published.check_files(folder, INDEX_PARTS, hash_file)
    parts = (folder / PIPELINE / "text_encoder", folder / PIPELINE / "tokenizer")
    index = open_copy(copy_path(folder, manifest.digest), manifest.digest)
    check_foreign(index)
    text_encoder = read_text_encoder(*parts, cache_folder("hashes") / manifest.digest, index.tokenizers)
    retriever = Retriever(index, text_encoder, manifest.settings)
    weights = PublishedWeights(folder, cache_folder("weights"), manifest)

    def refuse_images(image: "Image") -> str:
        raise MissingArtifact(
            f"{folder} is a published index, which names no model that captions images: open the project that it was "
            "made in, or describe the image in words and search for these"
        )

    return Collection(folder, manifest.settings, retriever, weights, refuse_images)
