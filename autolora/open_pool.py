"""A pool of adapters for a user of diffusers: search it, and fuse what is found into a loaded pipeline.

import autolora

pool = autolora.open(".")
hits = pool.search("a cat in mosaic style", k=3, where="license = 'mit' and not nsfw")
with pool.fuse(pipe, hits):
    image = pipe("a cat in mosaic style").images[0]
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakKeyDictionary

from autolora.errors import MismatchError
from autolora.params import Params, load
from autolora.reasons import Reasons, add_blocks, explain
from autolora.records import Hit
from autolora.retrieval import Conditions, Retriever, open_retriever, strengthen

if TYPE_CHECKING:  # a search does not import torch
    from autolora.lora.factors import Lora

Method = Literal["gated", "direct"]

_attached: WeakKeyDictionary[Any, ExitStack] = WeakKeyDictionary()
"""transformer -> what detaches its adapters"""


class Pipeline(Protocol):
    """A loaded pipeline of diffusers with the transformer of FLUX: text to image, image to image, Fill, Kontext."""

    transformer: Any


class Pool:
    """The adapters of one index, and their weights.

    Any number of threads may search at the same time. `fuse`, `attach` and `detach` change a pipeline: call them from
    the thread that uses it. The hits of a pool are hits of the index that was served when it was opened.
    """

    def __init__(self, root: Path, params: Params, retriever: Retriever) -> None:
        """Combine a project with a retriever of one of its indexes; `autolora.open` does this."""
        self.root, self.params, self.retriever = root, params, retriever

    def __len__(self) -> int:
        """Return the number of adapters that can be found."""
        return len(self.retriever.index.rows)

    def __repr__(self) -> str:
        return f"<Pool of {len(self)} adapters in {self.root}, index {self.retriever.index.digest[:12]}>"

    def search(self, prompt: str, k: int | None = None, where: Conditions = None) -> list[Hit]:
        """Return the k adapters that fit a prompt best, best first, whether they fit it well or not.

        k: default `retrieval.k` in params.yaml. where: an SQL condition on columns of the index, or several that must
        all hold, e.g. "license = 'mit' and not nsfw". Raises FilterError if it is not valid.
        """
        return self.retriever.search(prompt, self.params.retrieval.k if k is None else k, where)

    def select(self, prompt: str, where: Conditions = None) -> list[Hit]:
        """Return one adapter for each thing that a prompt asks for and an adapter does; none if none fits.

        where: as in `search`. Raises FilterError, or MismatchError if the encoder was imported, so that the relevance
        of adapters is unknown.
        """
        return self.retriever.select(prompt, self.params.retrieval, where)

    def named(self, prompt: str, names: Sequence[str] | Mapping[str, float]) -> list[Hit]:
        """Return adapters by name, in this order; with a strength each if `names` maps names to strengths.

        A name is an id on a hub (author/name) or the beginning of a sha256. prompt: what their scores compare with.
        Raises MissingArtifact if no adapter has a name, or several have it.
        """
        hits = self.retriever.named(prompt, list(names))
        strengths = names.values() if isinstance(names, Mapping) else [1.0] * len(hits)
        return [strengthen(hit, strength) for hit, strength in zip(hits, strengths, strict=True)]

    def explain(self, prompt: str, hits: Sequence[Hit], *, blocks: bool = False) -> list[Reasons]:
        """Return why a search for the prompt has found each hit: nearest captions, matched words, cosines.

        blocks: also the blocks of the transformer that contribute most; loads torch, the encoder and the sketches.
        What cannot be determined is named in `Reasons.unavailable`.
        """
        reasons = explain(self.root, self.retriever, prompt, hits)
        if not blocks:
            return reasons
        return add_blocks(self.root, self.retriever, prompt, hits, reasons, self.params.pool)

    @contextmanager
    def fuse(
        self, pipeline: Pipeline, hits: Sequence[Hit], *, method: Method | None = None
    ) -> Iterator[None]:
        """Let the adapters of hits act in a pipeline inside the `with` block; afterwards it is as it was before.

        Each adapter acts with its `Hit.strength`. method: "direct" adds the updates, "gated" passes them through the
        trained gates, which know the relevance of each hit; default `generation.method` in params.yaml.
        Adapters that the pipeline holds by PEFT (`load_lora_weights`) stay active, and its weights may be quantized or
        offloaded.
        Raises MissingArtifact if weights or gates are missing, MismatchError if they do not fit the pipeline, or if
        it already has adapters of a pool.
        """
        key = _key(pipeline)
        if key in _attached:
            raise MismatchError(
                "the pipeline already has adapters of a pool: leave the `with` block of `fuse`, or call "
                "`pool.detach(pipeline)`; to use both sets, fuse `[*hits, *others]`"
            )
        self.attach(pipeline, hits, method=method)
        attached = _attached[key]
        try:
            yield
        finally:
            if _attached.get(key) is attached:
                self.detach(pipeline)

    def attach(self, pipeline: Pipeline, hits: Sequence[Hit], *, method: Method | None = None) -> None:
        """Let the adapters of hits act in a pipeline until `detach`, instead of those attached before.

        Arguments and errors as `fuse`; after an error the pipeline has the adapters that it had before.
        """
        from autolora.fusion.hits import fused_hits, transformer_slots
        from autolora.fusion.store import folder as gates_folder
        from autolora.fusion.store import load as load_gates

        key, slots = _key(pipeline), transformer_slots(pipeline.transformer)
        gated = (method or self.params.generation.method) == "gated"
        gates = load_gates(slots, gates_folder(self.root)) if gated else None
        with ExitStack() as stack:
            stack.enter_context(fused_hits(pipeline.transformer, hits, self._loader(slots), gates))
            self.detach(pipeline)
            _attached[key] = stack.pop_all()

    def detach(self, pipeline: Pipeline) -> None:
        """Remove the adapters that `attach` or `fuse` has added, of this or another pool; none is no error."""
        stack = _attached.pop(_key(pipeline), None)
        if stack is not None:
            stack.close()

    def _loader(self, slots: Any) -> "Callable[[str], Lora]":
        """Return what reads the updates of an adapter, named by its sha256."""
        from autolora.pool.weights import load_lora

        return lambda sha256: load_lora(self.root, sha256, slots, self.params.pool)


def open_pool(source: Path | str, revision: str | None = None) -> Pool:
    """Return the pool of a project: its served index, its text encoder, and its adapters' weights.

    source: the folder of a project, which contains params.yaml. revision: a commit, branch or tag of its git
    repository, whose index is searched instead of the served one.
    Raises ParamsError if there is no params.yaml, MissingArtifact if there is no index or text encoder, MismatchError
    if they do not belong together.
    """
    root = Path(source).expanduser().absolute()
    params = load(root / "params.yaml")
    return Pool(root, params, open_retriever(root, revision))


def _key(pipeline: Pipeline) -> Any:
    """Return the transformer itself, which torch.compile may have wrapped."""
    transformer = pipeline.transformer
    return getattr(transformer, "_orig_mod", transformer)
