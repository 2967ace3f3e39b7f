"""Search: the best hits, their scores, and the text encoder that an index needs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from autolora.encoder.store import load_encoder
from autolora.errors import MismatchError
from autolora.index.served import open_index, release
from autolora.index.store import content_digest
from autolora.models import ClipTextEncoder
from autolora.retrieval import Retriever, open_retriever
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    make_adapters,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

THEMES = ("mosaic", "neon", "chalk", "pixel")


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> ClipTextEncoder:
    """Return a tiny text encoder."""
    return tiny_text_encoder(tmp_path_factory.mktemp("text_encoder"))


@pytest.fixture(scope="module")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder
) -> tuple[Path, list[SyntheticAdapter]]:
    """Return a repository with an index of four themes by three authors, and its adapters."""
    root = tmp_path_factory.mktemp("indexed")
    adapters = make_adapters(themes=THEMES)
    write_repository(root, adapters)
    write_dataset(root)
    write_encoder(root, text_encoder)
    write_index(root)
    return root, adapters


@pytest.fixture
def root(tmp_path: Path, indexed: tuple[Path, list[SyntheticAdapter]]) -> Path:
    """Return a copy of the indexed repository."""
    shutil.copytree(indexed[0], tmp_path / "root")
    return tmp_path / "root"


def test_hits_are_of_the_prompts_theme_and_sorted_by_score(
    root: Path, indexed: tuple[Path, list[SyntheticAdapter]], text_encoder: ClipTextEncoder
) -> None:
    retriever = Retriever(open_index(root), text_encoder)
    adapters = {adapter.sha256: adapter for adapter in indexed[1]}
    for theme in THEMES:
        hits = retriever.search(f"a {theme} drawing", k=3)
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]
        assert adapters[hits[0].sha256].theme == theme
        assert {hit.index for hit in hits} == {content_digest(root)}
        listing = adapters[hits[0].sha256].listing
        assert (hits[0].hub, hits[0].id) == (listing.hub, listing.id)
        assert (hits[0].file, hits[0].license) == (listing.file, listing.license)


def test_scores_are_the_cosines_of_the_encoder(root: Path, text_encoder: ClipTextEncoder) -> None:
    index = open_index(root)
    scores = Retriever(index, text_encoder).scores("a neon drawing")
    encoder = load_encoder(root / "data" / "encoder")
    text_vector = encoder.text_map(text_encoder.encode(["a neon drawing"]))[0].numpy()
    assert np.allclose(scores, index.vectors @ text_vector, atol=1e-6)


def test_k_larger_than_the_index_returns_all_adapters(root: Path, text_encoder: ClipTextEncoder) -> None:
    assert len(Retriever(open_index(root), text_encoder).search("anything", k=99)) == 12


def test_search_reads_only_the_copy(root: Path, text_encoder: ClipTextEncoder) -> None:
    expected = Retriever(open_index(root), text_encoder).search("a neon drawing", k=3)
    release(root, content_digest(root))
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "digests")
    assert Retriever(open_index(root), text_encoder).search("a neon drawing", k=3) == expected


def test_a_different_text_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    index = open_index(root)
    for width in (32, 64):
        other = tiny_text_encoder(tmp_path / f"width{width}", width=width)
        if width == 32:
            (tmp_path / "width32" / "tokenizer" / "extra").write_text("changes the digest")
        with pytest.raises(MismatchError, match="text encoder"):
            Retriever(index, other)


def test_open_retriever_uses_the_text_encoder_of_params_yaml(root: Path) -> None:
    """The path of the pipeline is relative to the root."""
    text_encoder = tiny_text_encoder(root / "pipeline")
    lines = (Path(__file__).parents[1] / "params.yaml").read_text().splitlines()
    lines = ["  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in lines]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    hits = open_retriever(root).search("a neon drawing", k=3)
    assert hits == Retriever(open_index(root), text_encoder).search("a neon drawing", k=3)
