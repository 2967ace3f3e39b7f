"""Search: the best hits, their scores, and the text encoder that an index needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from autolora.encoder.store import load_encoder
from autolora.encoder.tags import describe_tags
from autolora.errors import FilterError, MismatchError, MissingArtifact
from autolora.extras import LIBRARIES
from autolora.index import stage
from autolora.index.copies import Index, Rows, TextMap
from autolora.index.served import open_index, release
from autolora.index.store import CAPTION, DESCRIPTION, EXACT_COLUMNS, content_digest
from autolora.index.tags import read_tags
from autolora.models import ClipTextEncoder
from autolora.params import load
from autolora.search.retriever import MAX_LINE, Retriever, open_retriever
from autolora.storage import hash_cache
from autolora.storage.arrays import Float32Array
from tests.support.synthetic_repo import (
    BOUNDS,
    SETTINGS,
    SyntheticAdapter,
    make_adapters,
    no_text_encoder,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)
from tests.support.waiting import wait_for_a_later_time_stamp

THEMES = ("mosaic", "neon", "chalk", "pixel")
CONDITION = (
    "nsfw IS NOT TRUE AND rank_max IN (2, 4) AND rank_max < 4.5 AND license LIKE 'a%' AND "
    "NOT array_contains(trigger_words, 'x') AND first_seen BETWEEN DATE '2025-12-31' AND '2026-12-31' AND TRUE"
)
"""with each kind of value"""


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
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
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


def test_adapters_that_the_prompt_names_come_first_if_they_pass_the_filter(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
    last = retriever.search("mosaic", k=12)[-1]
    prompt, condition = last.id, f"sha256 != '{last.sha256}'"
    hits = retriever.search(prompt, k=3)
    assert [hit.exact for hit in hits] == ["name", None, None]
    assert [hit.rank for hit in hits] == [1, 2, 3] and len({hit.sha256 for hit in hits}) == 3
    (judged,) = retriever.judge(prompt, [retriever.names.find_one(last.sha256)])
    assert hits[0] == replace(judged, exact="name")
    assert all(hit.exact is None for hit in retriever.search(prompt, k=3, where=condition))


def test_scores_are_the_cosines_of_the_encoder(root: Path, text_encoder: ClipTextEncoder) -> None:
    index = open_index(root)
    scores = Retriever(index, text_encoder, SETTINGS).answer("a neon drawing").order()
    encoder = load_encoder(root / "data" / "encoder")
    text_vector = encoder.text_map(torch.from_numpy(text_encoder.encode(["a neon drawing"])))[0].numpy()
    assert np.allclose(scores, index.weights_directions @ text_vector, atol=1e-6)


def test_a_ranking_is_the_order_of_a_search(root: Path, text_encoder: ClipTextEncoder) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
    order, hits = retriever.ranking("a neon drawing"), retriever.search("a neon drawing", k=99)
    assert [retriever.index.rows[row]["sha256"] for row in order] == [hit.sha256 for hit in hits]


class FixedText:
    """A text encoder that gives every prompt the same features."""

    digest = "text"

    def __init__(self, *features: float) -> None:
        self.features, self.width = features, len(features)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        return np.array([self.features] * len(texts), dtype=np.float32)


def index_of(vectors: np.ndarray) -> Index:
    """Return an index of unit vectors (N, d), whose text map is the identity."""
    count = len(vectors)
    columns = {name: pa.nulls(count, kind) for name, kind in EXACT_COLUMNS.items()} | {
        "sha256": pa.array([str(row) for row in range(count)], pa.string()),
        "hub": pa.array(["folder"] * count),
        "nsfw": pa.array([False] * count),
        "trigger_words": pa.array([[]] * count, EXACT_COLUMNS["trigger_words"]),
        "rank_max": pa.array(range(count), pa.int64()),
    }
    rows = Rows(pa.table(columns))
    identity = TextMap(np.zeros(vectors.shape[1], np.float32), np.eye(vectors.shape[1], dtype=np.float32))
    vectors = vectors.astype(np.float32)
    return Index("digest", vectors, rows, "encoder", "text", identity)


def test_adapters_are_named_by_sha256_id_hub_and_file(
    root: Path, indexed: tuple[Path, list[SyntheticAdapter]], text_encoder: ClipTextEncoder
) -> None:
    retriever, adapters = Retriever(open_index(root), text_encoder, SETTINGS), indexed[1]
    first, second = adapters[0], adapters[5]
    names = [second.sha256[:6], first.listing.id, f"{first.listing.hub}:{first.listing.id}"]
    names.append(f"{second.listing.id}/{second.listing.file}")
    scores = {hit.sha256: hit.score for hit in retriever.search("a neon drawing", k=99)}
    for pair in (names[:2], names[2:]):
        hits = retriever.named("a neon drawing", pair)
        assert {hit.sha256 for hit in hits} == {first.sha256, second.sha256}
        assert [hit.rank for hit in hits] == [1, 2]
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.sha256], abs=1e-6)
            assert hit.relevance is None  # which the gates take for 1
    for unknown in ("nobody/nothing", second.sha256[:5], "civitai:" + first.listing.id):
        with pytest.raises(MissingArtifact, match="contains no adapter"):
            retriever.named("a neon drawing", [unknown])
    with pytest.raises(MissingArtifact, match="the name of an adapter is empty"):
        retriever.named("a neon drawing", [""])


def test_a_prompt_is_encoded_once(
    root: Path, text_encoder: ClipTextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = text_encoder.encode
    monkeypatch.setattr(text_encoder, "encode", lambda texts: encoded.extend(texts) or encode(texts))
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
    hits = retriever.search("something in neon", k=2)
    retriever.reasons("something in neon", hits)
    assert retriever.named("something in neon", [hits[0].id])[0].score == pytest.approx(hits[0].score)
    assert encoded.count("something in neon") == 1
    with pytest.raises(ValueError, match="read-only"):
        retriever.embed("something in neon")[0] = 0
    retriever.search("something in mosaic", k=1)
    assert encoded.count("something in mosaic") == 1


def test_a_text_that_is_not_unicode_is_an_error(root: Path, text_encoder: ClipTextEncoder) -> None:
    with pytest.raises(ValueError, match="the prompt is not valid UTF-8"):
        Retriever(open_index(root), text_encoder, SETTINGS).search("a \ud800", k=1)


def test_without_a_language_hits_have_no_relevance_and_a_selection_is_refused(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
    assert {hit.relevance for hit in retriever.search("a neon drawing", k=3)} == {None}
    with pytest.raises(MismatchError, match="has no language"):
        retriever.select("a neon drawing")


def test_k_larger_than_the_index_returns_all_adapters(root: Path, text_encoder: ClipTextEncoder) -> None:
    assert len(Retriever(open_index(root), text_encoder, SETTINGS).search("anything", k=99)) == 12


@pytest.mark.parametrize("passing", [0, 1, 5, 20, 40])
def test_a_filter_applies_before_the_ranking(passing: int) -> None:
    """The adapters that pass are those farthest from the prompt, and k of them are returned if k pass."""
    angles = np.linspace(0, np.pi / 2, 40)
    retriever = Retriever(
        index_of(np.column_stack((np.sin(angles), np.cos(angles)))), FixedText(1.0, 0.0), SETTINGS
    )
    hits = retriever.search("a prompt", 5, where=f"rank_max < {passing}")
    assert [int(hit.sha256) for hit in hits] == list(range(passing))[::-1][:5]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    unfiltered = {hit.sha256: hit.score for hit in retriever.search("a prompt", 40)}
    assert [hit.score for hit in hits] == pytest.approx([unfiltered[hit.sha256] for hit in hits], abs=1e-6)


def test_conditions_are_parsed_apart_so_that_none_changes_another() -> None:
    retriever = Retriever(index_of(np.eye(3)), FixedText(1.0, 0.0, 0.0), SETTINGS)
    assert len(retriever.search("a prompt", 3, where=["rank_max < 2", "rank_max > 0 OR nsfw"])) == 1
    assert len(retriever.search("a prompt", 3, where=[])) == 3
    for condition in ("nsfw) OR (TRUE", "TRUE) --"):
        with pytest.raises(FilterError, match="is not an SQL condition"):
            retriever.search("a prompt", 3, where=["nsfw", condition])
    with pytest.raises(FilterError, match="is empty"):
        retriever.search("a prompt", 3, where=" ")


def test_a_wrong_filter_is_an_error_that_lists_the_columns() -> None:
    retriever = Retriever(index_of(np.eye(3)), FixedText(1.0, 0.0, 0.0), SETTINGS)
    with pytest.raises(FilterError, match=r"the columns are hub \(text\)"):
        retriever.search("a prompt", 3, where="rank = 3")
    with pytest.raises(FilterError, match="is not an SQL condition"):
        retriever.search("a prompt", 3, where="rank_max <")


def test_filters_read_the_columns_of_the_dataset(
    root: Path, indexed: tuple[Path, list[SyntheticAdapter]], text_encoder: ClipTextEncoder
) -> None:
    retriever = Retriever(open_index(root), text_encoder, SETTINGS)
    first, *_ = indexed[1]
    assert len(retriever.search("anything", 99, "license = 'apache-2.0' AND first_seen = '2026-01-01'")) == 12
    assert not retriever.search("anything", 99, "commercial")  # the synthetic hub reports no permissions
    assert [hit.id for hit in retriever.search("anything", 99, f"sha256 = '{first.sha256}'")] == [
        first.listing.id
    ]


def test_search_reads_only_the_copy(root: Path, text_encoder: ClipTextEncoder) -> None:
    expected = Retriever(open_index(root), text_encoder, SETTINGS).search("a neon drawing", k=3)
    release(root, content_digest(root))
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "digests")
    assert Retriever(open_index(root), text_encoder, SETTINGS).search("a neon drawing", k=3) == expected


def test_what_an_adapter_does_is_said_in_one_line_by_its_author_a_caption_or_likely_tags(
    root: Path, text_encoder: ClipTextEncoder
) -> None:
    index, tags = open_index(root), read_tags(root)
    assert Retriever(index, text_encoder, SETTINGS).what_it_does(0) == ""
    retriever = Retriever(index, text_encoder, SETTINGS, root)
    for position, sha256 in enumerate(index.rows.columns.column("sha256").to_pylist()):
        likely = tuple(tag for tag in tags[sha256] if tag.is_likely)
        line = f"by the weights: {describe_tags(likely)}" if likely else ""
        assert retriever.what_it_does(position) == line, "a tag that is not likely is no guess"
    captioned = Rows(
        index.rows.columns.append_column(CAPTION, pa.array(["a chalk drawing"] * len(index.rows)))
    )
    line = Retriever(replace(index, rows=captioned), text_encoder, SETTINGS, root).what_it_does(0)
    assert line == "a chalk drawing"
    said = pa.array([["word " * 40]] * len(index.rows), pa.list_(pa.string()))
    place = index.rows.columns.column_names.index(DESCRIPTION)
    described = replace(index, rows=Rows(index.rows.columns.set_column(place, DESCRIPTION, said)))
    line = Retriever(described, text_encoder, SETTINGS, root).what_it_does(0)
    assert len(line) <= MAX_LINE and line.startswith("word word") and line.endswith("word …")


def test_a_different_text_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    index = open_index(root)
    for width in (32, 64):
        other = tiny_text_encoder(tmp_path / f"width{width}", width=width)
        if width == 32:
            (tmp_path / "width32" / "tokenizer" / "extra").write_text("changes the digest")
        with pytest.raises(MismatchError, match="text encoder"):
            Retriever(index, other, SETTINGS)


def configure(root: Path) -> ClipTextEncoder:
    """Write params.yaml, with the path of the pipeline relative to the root, and return the pipeline's text encoder."""
    text_encoder = tiny_text_encoder(root / "pipeline")
    lines = (Path(__file__).parents[2] / "params.yaml").read_text().splitlines()
    lines = ["  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in lines]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    return text_encoder


def test_open_retriever_uses_the_text_encoder_of_params_yaml(root: Path) -> None:
    text_encoder = configure(root)
    hits = open_retriever(root).search("a neon drawing", k=12)
    expected = Retriever(open_index(root), text_encoder, SETTINGS).search("a neon drawing", k=12)
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
    wait_for_a_later_time_stamp(path)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(MismatchError, match="text encoder"):
        open_retriever(root)
    path.write_bytes(content)
    open_retriever(root)


def test_an_index_without_a_tokenizer_is_searched_with_a_converted_one(root: Path) -> None:
    configure(root)
    first = open_retriever(root)
    (path,) = (root / "cache").glob("tokenizer-*.json")
    written = path.stat().st_mtime_ns
    assert first.index.tokenizers == {}
    assert open_retriever(root).search("a neon drawing", k=3) == first.search("a neon drawing", k=3)
    assert path.stat().st_mtime_ns == written
    assert path.name == f"tokenizer-{first.index.text_encoder}.json"


@pytest.mark.slow
def test_a_search_imports_no_library_of_an_extra(root: Path) -> None:
    configure(root)
    models = load(root / "params.yaml").models
    stage.open_sync(root, BOUNDS, no_text_encoder).save_tokenizer(models)
    shutil.rmtree(root / "cache")  # also holds the tokenizer, for commands without an index
    open_index(root)
    (root / "dvc.yaml").touch()
    arguments = ["autolora", "search", "a neon drawing", "--where", CONDITION]
    code = (
        f"import atexit, sys; from autolora.__main__ import main; sys.argv = {arguments!r}; "
        f"atexit.register(lambda: print(set(sys.modules) & {LIBRARIES | {'pandas'}!r})); main()"
    )
    completed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    table, imported = completed.stdout.rsplit("\n", 2)[:2]
    assert "author" in table and imported == "set()"
    assert not list((root / "cache").glob("tokenizer-*.json"))
