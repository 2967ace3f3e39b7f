"""Search: the best hits, their scores, and the text encoder that an index needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.encoder.store import load_encoder
from autolora.errors import MismatchError
from autolora.index.served import Index, open_index, release
from autolora.index.store import content_digest
from autolora.index.text_map import TextMap
from autolora.models import ClipTextEncoder
from autolora.retrieval import Retriever, open_retriever
from autolora.storage import hash_cache
from autolora.storage.arrays import Float32Array
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
    text_vector = encoder.text_map(torch.from_numpy(text_encoder.encode(["a neon drawing"])))[0].numpy()
    assert np.allclose(scores, index.vectors @ text_vector, atol=1e-6)


def index_of(vectors: np.ndarray) -> Index:
    """Return an index of unit vectors (N, d), whose text map is the identity."""
    rows = tuple(
        {
            "sha256": str(row),
            "hub": "folder",
            "id": str(row),
            "file": "f",
            "license": None,
            "nsfw": False,
            "trigger_words": [],
        }
        for row in range(len(vectors))
    )
    identity = TextMap(np.zeros(vectors.shape[1], np.float32), np.eye(vectors.shape[1], dtype=np.float32))
    return Index("digest", vectors.astype(np.float32), rows, "encoder", "text", identity)


class FixedText:
    """A text encoder that gives every prompt the same features."""

    digest = "text"

    def __init__(self, *features: float) -> None:
        self.features, self.width = features, len(features)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        return np.array([self.features] * len(texts), dtype=np.float32)


def selected(vectors: np.ndarray, features: Sequence[float], limit: int = 3, floor: float = 0.4) -> list[str]:
    retriever = Retriever(index_of(vectors), FixedText(*features))
    return [hit.sha256 for hit in retriever.select("a prompt", limit, floor)]


def test_selection_takes_one_adapter_of_each_concept() -> None:
    """Two adapters of the first concept are nearer to the prompt than the only one of the second."""
    vectors = np.array([[1, 0, 0.1], [1, 0, -0.1], [0, 1, 0], [0, 0, 1]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prompt = (0.9, 0.6, 0.05)
    retriever = Retriever(index_of(vectors), FixedText(*prompt))
    assert {hit.sha256 for hit in retriever.search("a prompt", 2)} == {"0", "1"}
    assert selected(vectors, prompt) == ["0", "2"]
    assert selected(vectors, prompt, limit=1) == ["0"]


def test_selection_is_empty_if_no_adapter_fits() -> None:
    assert selected(np.eye(3)[:2], (0.1, 0.2, 1.0)) == []
    assert selected(np.eye(3)[:2], (0.1, 0.2, 1.0), floor=0.05) == ["1", "0"]
    assert selected(np.empty((0, 3)), (1.0, 0.0, 0.0)) == []


def test_selection_of_a_prompt_that_equals_a_vector_ends() -> None:
    assert selected(np.eye(3), (1.0, 0.0, 0.0), floor=-1.0) == ["0", "1", "2"]
    assert selected(np.eye(3), (1.0, 0.0, 0.0)) == ["0"]


def test_scores_of_a_selection_are_cosines_with_the_rest_of_the_prompt() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prompt = rng.normal(size=6)
    retriever = Retriever(index_of(vectors), FixedText(*prompt))
    hits = retriever.select("a prompt", 3, -1.0)
    assert [hit.rank for hit in hits] == [1, 2, 3] and len({hit.sha256 for hit in hits}) == 3
    for number, hit in enumerate(hits):
        before = vectors[[int(other.sha256) for other in hits[:number]]]
        rest = prompt - np.linalg.pinv(before) @ before @ prompt if number else prompt
        cosines = vectors @ rest / np.linalg.norm(rest)
        assert hit.score == pytest.approx(cosines[int(hit.sha256)], abs=1e-5)
        assert hit.score == pytest.approx(
            np.delete(cosines, [int(h.sha256) for h in hits[:number]]).max(), abs=1e-5
        )


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


def configure(root: Path) -> ClipTextEncoder:
    """Write params.yaml, with the path of the pipeline relative to the root, and return the pipeline's text encoder."""
    text_encoder = tiny_text_encoder(root / "pipeline")
    lines = (Path(__file__).parents[1] / "params.yaml").read_text().splitlines()
    lines = ["  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in lines]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    return text_encoder


def test_open_retriever_uses_the_text_encoder_of_params_yaml(root: Path) -> None:
    text_encoder = configure(root)
    hits = open_retriever(root).search("a neon drawing", k=12)
    expected = Retriever(open_index(root), text_encoder).search("a neon drawing", k=12)
    assert [hit.sha256 for hit in hits] == [hit.sha256 for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_open_retriever_refuses_a_text_encoder_that_was_changed_after_its_hashes_were_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "MIN_AGE_S", 0)
    configure(root)
    open_retriever(root)
    path = root / "pipeline" / "text_encoder" / "model.safetensors"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(MismatchError, match="text encoder"):
        open_retriever(root)
    path.write_bytes(content)
    open_retriever(root)


def test_a_search_imports_no_library_that_runs_models(root: Path) -> None:
    configure(root)
    (root / "dvc.yaml").touch()
    code = (
        "import atexit, sys; from autolora.cli import main; sys.argv = ['autolora', 'search', 'a neon drawing']; "
        "atexit.register(lambda: print({'torch', 'transformers', 'diffusers'} & set(sys.modules))); main()"
    )
    completed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    table, imported = completed.stdout.rsplit("\n", 2)[:2]
    assert "author" in table and imported == "set()"
