"""A repository with a collection, two of its hits, and a tiny FLUX pipeline."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import autolora
from autolora.generation.collection import Collection
from autolora.params import load
from autolora.records import Hit
from tests.collection.images import PROMPT
from tests.support import small_root
from tests.support.tiny_flux import build_pipeline
from tests.support.tiny_sentences import tiny_sentence_encoder

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose pipeline, and the playground's VLM, are where the shipped params.yaml says."""
    root = tmp_path_factory.mktemp("repository")
    base = small_root.base(root)
    params = (REPOSITORY / "params.yaml").read_text()
    size = f"sketch_size: {small_root.SKETCH_SIZE}"
    (root / "params.yaml").write_text(params.replace("sketch_size: 32", size))
    (root / "playground/models").mkdir(parents=True)
    (root / "playground/models/flux").symlink_to(base.pipeline)
    (root / "playground/models/vlm").symlink_to(REPOSITORY / "playground/models/vlm")
    small_root.build(root, base)
    return root


@pytest.fixture(scope="package")
def collection(root: Path) -> Collection:
    return autolora.open(root)


@pytest.fixture(scope="package")
def spoken(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Return the collection with a language."""
    own = tmp_path_factory.mktemp("spoken") / "root"
    shutil.copytree(root, own, symlinks=True)
    sentences = tiny_sentence_encoder(own / "sentences", words=small_root.THEMES)
    base = replace(load(own / "params.yaml").models, pipeline=str(own / "playground/models/flux"))
    small_root.teach_sentences(own, base, sentences)
    return autolora.open(own)


@pytest.fixture(scope="package")
def hits(collection: Collection) -> list[Hit]:
    hits = collection.search(PROMPT, k=2)
    return [replace(hits[0], strength=0.7, relevance=0.9), replace(hits[1], relevance=0.4)]


@pytest.fixture
def pipe() -> Any:
    return build_pipeline()
