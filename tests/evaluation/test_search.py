"""The evaluation's ranks are those of searches, in the index without the rendering that a query describes."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.evaluation.benchmark import read_renderings, unseen_queries
from autolora.evaluation.search import WithoutRenderings, search_ranks
from autolora.generation.collection import Collection, open_collection
from autolora.index.evidence import evidence_reader
from autolora.metrics.benchmark import Query
from autolora.params import ModelsParams
from autolora.records import Caption
from autolora.storage.files import read_rows, write_rows
from autolora.text_encoder.sentences import SentenceEncoder
from tests.support import small_root
from tests.support.tiny_sentences import tiny_sentence_encoder

UNQUOTED = ("a cat", "neon things", "a picture of a rocket, in mosaic style", "zqmo", "author1", "two tents")
THINGS = ("tent", "moon", "boat", "tree", "lamp", "door", "hill", "fish", "cup", "bell")
QUOTED = slice(0, 12, 4)
"""queries, of three adapters, for which an index is built without a rendering"""


@dataclass(frozen=True)
class Project:
    """A small project with a language."""

    root: Path
    base: ModelsParams
    sentences: SentenceEncoder

    def open(self) -> Collection:
        """Return the adapters of the working index."""
        return open_collection(self.root)

    def without(self, image: str, root: Path) -> Collection:
        """Return the adapters of the index that the stages build in another folder without the captions of an image."""
        shutil.copytree(self.root, root, symlinks=True, ignore=shutil.ignore_patterns("cache", "flux"))
        path = root / "data/captions/captions.jsonl"
        write_rows(path, [row for row in read_rows(path) if row["image"] != image])
        small_root.build_dataset(root)
        small_root.build_index(root, self.base, models.load_text_encoder(self.base), self.sentences)
        return open_collection(root)


def make_captions(image: str, theme: str) -> list[Caption]:
    """Return captions that name a theme, and a thing that few renderings show."""
    thing = THINGS[int(image[:4], 16) % len(THINGS)]
    texts = {"short": f"a {theme}, {thing}", "long": f"a picture of a {thing} that shows a {theme}"}
    return [Caption(image=image, prompt=n, vlm="v", length=n, text=text) for n, text in texts.items()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    base = small_root.base(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_root, "make_captions", make_captions)
        small_root.build(root, base)
    sentences = tiny_sentence_encoder(root / "sentences", words=(*small_root.THEMES, *THINGS))
    small_root.teach_sentences(root, base, sentences)
    params = (small_root.REPOSITORY / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("playground/models/flux", base.pipeline))
    return Project(root, base, sentences)


def evaluated(project: Project, queries: Sequence[Query]) -> list[list[int]]:
    """Return the order of all adapters for each query, by the ranks of the evaluation."""
    retriever, folder = project.open().retriever, encoder_store.folder(project.root)
    reader = evidence_reader(
        encoder_store.load_encoder(folder), models.load_text_encoder(project.base), retriever.index.language,
        project.sentences,
    )  # fmt: skip
    unseen = WithoutRenderings.of(project.root, retriever.index, reader)
    count = len(retriever.index.rows)
    each = {str(position): [np.array([position])] * len(queries) for position in range(count)}
    ranks = search_ranks(retriever, unseen, tuple(queries), each)
    table = np.stack([ranks[str(position)] for position in range(count)])
    assert (np.sort(table, axis=0) == np.arange(1, count + 1)[:, None]).all()
    return [np.argsort(column).tolist() for column in table.T]


def searched(collection: Collection, prompt: str) -> list[int]:
    """Return the order of all adapters of a search."""
    hits = collection.search(prompt, k=len(collection))
    return collection.retriever.index.find([hit.sha256 for hit in hits]).tolist()


def test_a_query_that_quotes_no_rendering_ranks_as_the_search(project: Project) -> None:
    collection = project.open()
    adapters = tuple(row["sha256"] for row in collection.retriever.index.rows)
    queries = [Query(prompt, "no image", adapters[:1]) for prompt in UNQUOTED]
    assert evaluated(project, queries) == [searched(collection, prompt) for prompt in UNQUOTED]


@pytest.mark.slow
def test_other_queries_rank_as_searches_of_an_index_built_without_the_rendering(
    project: Project, tmp_path: Path
) -> None:
    queries = unseen_queries(project.root, read_renderings(project.root), "test")[QUOTED]
    expected = [
        searched(project.without(query.image, tmp_path / str(row)), query.text)
        for row, query in enumerate(queries)
    ]
    assert evaluated(project, queries) == expected
    with_all = [searched(project.open(), query.text) for query in queries]
    assert with_all != expected, "captions of the rendering matter"
