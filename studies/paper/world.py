"""The world that the paper's experiments run in: a repository with a pool, an index, a base model and judges.

Everything is read from its params.yaml: the playground, a second playground and FLUX.1-dev differ in the folder only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from autolora import models
from autolora.experiments.cases import CandidateAdapter, PromptCase, candidates
from autolora.experiments.relevance import relevance_scorer
from autolora.generation.images import Generator
from autolora.metrics.judges import Judges, load_judges
from autolora.metrics.judgments import read_judgments
from autolora.params import Params
from autolora.pool import store as pool
from autolora.search.retriever import Retriever, open_retriever
from autolora.text_encoder.sentences import open_language
from studies.paper.parties import check_judges

CACHE = Path("cache", "paper")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A repository, its adapters, and what draws and judges images."""

    root: Path
    params: Params
    adapters: Mapping[str, CandidateAdapter]
    """sha256 -> adapter with weights, a rendering and a caption; those of the validation split are left out"""
    generator: Generator
    judges: Judges
    retriever: Callable[[], Retriever]
    """opens the index once"""
    relevance: Callable[[str, tuple[str, ...]], tuple[float, ...]]
    """prompt and adapters (sha256) -> relevance of each, beside those that a selection prefers"""

    @property
    def cache(self) -> Path:
        """Return the folder of images, scores and gates."""
        return self.root / CACHE

    def listed(self, *, unseen: bool) -> list[CandidateAdapter]:
        """Return the adapters that were held out of training, or the training adapters, by sha256."""
        return [adapter for _, adapter in sorted(self.adapters.items()) if adapter.unseen == unseen]

    def field(self, adapter: CandidateAdapter) -> str:
        """Return what an adapter decides about an image: adapters of one field contradict each other.

        It is the classifier's field that has its theme, else its kind, else its family.
        """
        classifier, theme = self.judges.classifier, adapter.theme
        field = classifier.field_of(theme) if classifier and theme else None
        return field or adapter.kind or adapter.family

    def renderings(self, sha256: str) -> list[Image.Image]:
        """Return an adapter's own images, decoded."""
        images = []
        for rendering in self.adapters[sha256].renderings:
            with Image.open(pool.rendering_path(self.root, rendering)) as image:
                images.append(image.convert("RGB"))
        return images


def open_world(root: Path, params: Params) -> World:
    """Return the world of a repository; the working directory must be its root, to which params.yaml is relative.

    params: those of its params.yaml.
    Raises ParamsError if a judge is a party (`check_judges`), MissingArtifact if a stage has not run.
    """
    themes = params.evaluation.themes
    judgments = read_judgments(root / themes if themes else None)
    usable = {
        adapter.sha256: adapter
        for adapter in candidates(root, judgments)
        if adapter.renderings and adapter.captions
    }
    generator = Generator(root, params.models, params.pool)
    judges = load_judges(params.judges, params.models)
    check_judges(params, judges, generator.pipeline)
    return World(
        root=root,
        params=params,
        adapters=usable,
        generator=generator,
        judges=judges,
        retriever=cache(lambda: open_retriever(root)),
        relevance=_relevance(root, params, usable),
    )


def _relevance(
    root: Path, params: Params, adapters: Mapping[str, CandidateAdapter]
) -> Callable[[str, tuple[str, ...]], tuple[float, ...]]:
    """Return the function `World.relevance`; models are loaded at its first call, and each result is kept."""

    @cache
    def scorer() -> Callable[[PromptCase], tuple[float, ...]]:
        text_encoder = models.load_text_encoder(params.models)
        return relevance_scorer(
            root, adapters, text_encoder, open_language(root, params.encoder), params.pool
        )

    @cache
    def score(prompt: str, loaded: tuple[str, ...]) -> tuple[float, ...]:
        case = PromptCase(
            scenario="pair", prompt=prompt, content=prompt, adapters=loaded, themes=(), cluster="", unseen=0
        )
        return scorer()(case)

    return score
