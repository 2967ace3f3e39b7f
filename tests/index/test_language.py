"""An index with a language: vectors of captions and texts, what changes them, its files, and their copies."""

import datetime
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.encoder import store as encoder_store
from autolora.errors import MismatchError, MissingArtifact
from autolora.index import stage
from autolora.index.caption_check import read_caption_checks
from autolora.index.content import LANGUAGE_FILES
from autolora.index.copies import Rows, check_copy, check_foreign, open_copy
from autolora.index.served import copy_path, open_index, without
from autolora.index.store import (
    CAPTION,
    CAPTIONS_VECTOR,
    CHECKS,
    EXACT_COLUMNS,
    TEXTS_VECTOR,
    content_digest,
    folder,
    hash_vector_row,
    read_vectors,
)
from autolora.matching.language import PRIOR_TRUST, Language
from autolora.models import ClipTextEncoder
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row
from autolora.storage.hashes import hash_files
from autolora.storage.tables import read_table
from autolora.text_encoder.sentences import SentenceEncoder
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import (
    BOUNDS,
    SyntheticAdapter,
    make_adapters,
    no_text_encoder,
    write_dataset,
    write_index,
    write_repository,
)
from tests.support.tiny_sentences import WIDTH, teach, tiny_sentence_encoder

NONE = {"embedded": 0, "updated": 0, "removed": 0}
MODEL = "language_model.safetensors"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return tiny_sentence_encoder(tmp_path_factory.mktemp("sentences") / "tiny")


@pytest.fixture
def taught(root: Path, sentences: SentenceEncoder) -> Path:
    """Return a copy of the indexed repository whose encoder has a language, and takes no captions otherwise."""
    teach(root, sentences)
    assert write_index(root, sentences=sentences) == NONE | {"embedded": 12}
    return root


def with_texts(adapter: SyntheticAdapter, *texts: str) -> SyntheticAdapter:
    """Return an adapter with other captions of its first images; without texts, with none at all."""
    captions = [replace(own, text=text) for own, text in zip(adapter.captions, texts, strict=False)]
    return replace(adapter, captions=(*captions, *adapter.captions[len(texts) :]) if texts else ())


def reindex(
    root: Path, adapters: list[SyntheticAdapter], sentences: SentenceEncoder | None
) -> dict[str, int]:
    write_repository(root, adapters)
    write_dataset(root)
    return write_index(root, sentences=sentences)


def speech(root: Path) -> dict[str, np.ndarray]:
    """Return adapter -> vector of its captions."""
    return dict(zip(*read_vectors(root, CAPTIONS_VECTOR), strict=True))


def expected(language: Language, sentences: SentenceEncoder, adapter: SyntheticAdapter) -> np.ndarray:
    """Return the direction of the mean of the captions' unit vectors."""
    vectors = [
        (sentences.encode([caption.text])[0] - language.captions.said_mean) @ language.captions.matrix
        for caption in adapter.captions
    ]
    mean: np.ndarray = np.mean([vector / np.linalg.norm(vector) for vector in vectors], axis=0)
    mean /= np.linalg.norm(mean)
    return mean


@pytest.mark.slow
def test_captions_have_a_vector_unless_there_are_none_or_they_contradict_the_weights(
    tmp_path: Path, text_encoder: ClipTextEncoder, sentences: SentenceEncoder
) -> None:
    first, second, *others = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(tmp_path, text_encoder, [first, second, *others], sentences)
    wrong, silent = with_captions_of(first, others[-1]), with_texts(second)
    assert write_hybrid(tmp_path, text_encoder, [wrong, silent, *others], sentences)["embedded"] == 2
    uses = {
        row["sha256"]: row["uses_captions"]
        for row in read_table(folder(tmp_path), "adapters", ["sha256", "uses_captions"])
    }
    assert [uses[adapter.sha256] for adapter in (wrong, silent, others[0])] == [False, None, True]
    vectors, language = speech(tmp_path), Language.load(folder(tmp_path))
    assert language is not None
    for adapter in others:
        wanted = expected(language, sentences, adapter) if uses[adapter.sha256] else np.zeros(WIDTH)
        assert vectors[adapter.sha256] == pytest.approx(wanted, abs=1e-5)
    assert not vectors[wrong.sha256].any() and not vectors[silent.sha256].any()
    has_captions = dict(zip(sorted(uses), open_index(tmp_path).has_captions.tolist(), strict=True))
    assert has_captions == {sha256: bool(used) for sha256, used in uses.items()}
    checks = read_caption_checks(folder(tmp_path))
    assert checks == read_caption_checks(copy_path(tmp_path, content_digest(tmp_path)))
    assert {sha256: check.is_searched for sha256, check in checks.items()} == {
        sha256: used for sha256, used in uses.items() if used is not None
    }


def test_without_a_check_all_captions_count(
    taught: Path, adapters: list[SyntheticAdapter], sentences: SentenceEncoder
) -> None:
    index, vectors = open_index(taught), speech(taught)
    assert index.language is not None and index.captions_vectors is not None
    for adapter in adapters:
        assert np.allclose(vectors[adapter.sha256], expected(index.language, sentences, adapter), atol=1e-5)
    order = index.find(sorted(vectors))
    assert np.array_equal(index.captions_vectors[order], [vectors[sha256] for sha256 in sorted(vectors)])
    assert index.has_captions.all()
    typical = {row["sha256"]: row[CAPTION] for row in index.rows}
    for adapter in adapters:
        texts = [caption.text for caption in adapter.captions]
        each = index.language.captions.said(sentences.encode(texts))
        assert typical[adapter.sha256] == texts[int((each @ vectors[adapter.sha256]).argmax())]


def test_changed_captions_encode_those_of_their_adapter_alone(
    taught: Path,
    adapters: list[SyntheticAdapter],
    sentences: SentenceEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, encoded, encode = speech(taught), list[str](), SentenceEncoder.encode

    def note(own: SentenceEncoder, texts: Sequence[str]) -> Float32Array:
        encoded.extend(texts)
        return encode(own, texts)

    monkeypatch.setattr(SentenceEncoder, "encode", note)
    changed = with_texts(adapters[3], "a neon thing", "a neon style")
    relicensed = replace(adapters[5], listing=replace(adapters[5].listing, license="mit"))
    others = [adapter for adapter in adapters if adapter.sha256 not in (changed.sha256, relicensed.sha256)]
    counts = reindex(taught, [changed, relicensed, *others], sentences)
    assert counts == {"embedded": 1, "updated": 1, "removed": 0}
    assert set(encoded) == {changed.theme, *(caption.text for caption in changed.captions)}
    after = speech(taught)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {changed.sha256}
    assert reindex(taught, [changed, relicensed, *others], sentences) == NONE


def with_trigger(adapters: Sequence[SyntheticAdapter], position: int, word: str) -> list[SyntheticAdapter]:
    """Return the adapters, one of which has a trigger word."""
    changed = [*adapters]
    listing = replace(adapters[position].listing, trigger_words=(word,))
    changed[position] = replace(adapters[position], listing=listing)
    return changed


def test_texts_have_a_vector_which_follows_them(
    taught: Path, adapters: list[SyntheticAdapter], sentences: SentenceEncoder
) -> None:
    changed, before = with_trigger(adapters, 3, "pixel"), speech(taught)
    assert reindex(taught, changed, sentences) == NONE | {"embedded": 1}
    assert reindex(taught, changed, sentences) == NONE
    index = open_index(taught)
    assert index.language is not None and index.texts_vectors is not None
    rows = index.find([adapter.sha256 for adapter in changed]).tolist()
    for row, adapter in zip(rows, changed, strict=True):
        texts = [adapter.theme, *adapter.listing.trigger_words]
        wanted = index.language.texts.mean(sentences.encode(texts))
        assert index.texts_vectors[row] == pytest.approx(wanted, abs=1e-5)
        assert index.words[row].as_py() == sorted(texts) and index.texts_trust[row] == PRIOR_TRUST
    assert all(np.array_equal(before[name], vector) for name, vector in speech(taught).items())


def test_without_a_language_changed_captions_and_texts_encode_nothing(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    counts = reindex(root, [with_texts(adapters[3], "a neon thing"), *adapters[:3], *adapters[4:]], None)
    assert counts == {"embedded": 0, "updated": 1, "removed": 0}
    assert reindex(root, with_trigger(adapters, 5, "pixel"), None) == NONE | {"updated": 2}


def test_what_another_person_says_about_texts_is_checked(taught: Path) -> None:
    index = open_index(taught)
    assert index.texts_vectors is not None
    check_foreign(index)
    narrow = replace(index, texts_vectors=index.texts_vectors[:, 1:])
    without_trust = replace(index, rows=Rows(index.rows.columns.drop_columns(["texts_trust"])))
    for damaged, reason in ((narrow, r"vectors \(12, 63\)"), (without_trust, "no column texts_trust")):
        with pytest.raises(MissingArtifact, match=reason):
            check_foreign(damaged)


@pytest.mark.slow
def test_another_language_embeds_all_and_without_one_the_index_is_the_former_one(
    root: Path, sentences: SentenceEncoder, tmp_path: Path
) -> None:
    teach(root, None)
    write_index(root)
    former, files = content_digest(root), {path.name for path in folder(root).iterdir()}
    open_index(root)
    copied = hash_files(copy_path(root, former))
    digests = [former]
    for spoken in (sentences, tiny_sentence_encoder(tmp_path / "other", seed=1)):
        teach(root, spoken)
        assert write_index(root, sentences=spoken) == NONE | {"embedded": 12}
        assert {path.name for path in folder(root).iterdir()} == files | set(LANGUAGE_FILES)
        assert json.loads((folder(root) / "language.json").read_text())["digest"] == spoken.digest
        assert write_index(root, sentences=spoken) == NONE
        digests.append(content_digest(root))
    assert len(set(digests)) == 3
    teach(root, None)
    assert Language.load(encoder_store.folder(root)) is None
    assert write_index(root) == NONE | {"embedded": 12}
    assert content_digest(root) == former and {path.name for path in folder(root).iterdir()} == files
    shutil.rmtree(root / "cache")
    assert open_index(root).captions_vectors is None
    assert hash_files(copy_path(root, former)) == copied


def test_the_hash_of_a_row_without_a_language_stays() -> None:
    row: Row = dict.fromkeys(EXACT_COLUMNS) | dict.fromkeys(CHECKS) | {
        "sha256": "a" * 64, "trigger_words": ["été"], "nsfw": False, "size": 3, "encoder_weights": "b" * 64,
        "first_seen": datetime.date(2026, 1, 1), "agreement": 0.25, "uses_captions": True,
        "weights_vector": np.array([0.5, 2.0], np.float32),
    }  # fmt: skip
    assert hash_vector_row(row) == "167c8f059b5cc009275b64113412becd29b565284334fcb3d47b06b0d8df2326"
    for name in (CAPTIONS_VECTOR, TEXTS_VECTOR):
        assert hash_vector_row(row | {name: np.zeros(3, np.float32)}) != hash_vector_row(row)
    assert hash_vector_row(row | {"texts_trust": 0.5}) != hash_vector_row(row | {"texts_trust": 0.25})


def test_a_language_of_another_sentence_encoder_is_refused(
    taught: Path, sentences: SentenceEncoder, tmp_path: Path
) -> None:
    other = replace(sentences, digest="f" * 64)
    with pytest.raises(
        MismatchError, match="sentence encoder ffffffffffff, but the encoder was trained with"
    ):
        stage.open_sync(taught, BOUNDS, no_text_encoder, lambda: other)
    (encoder_store.folder(taught) / "language.safetensors").unlink()
    assert stage.open_sync(taught, BOUNDS, no_text_encoder, lambda: other).language is None


def test_copies_share_the_files_that_are_the_same(
    taught: Path, adapters: list[SyntheticAdapter], sentences: SentenceEncoder
) -> None:
    first = copy_path(taught, open_index(taught).digest)
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit"))
    assert reindex(taught, [relicensed, *adapters[1:]], sentences)["updated"] == 1
    second = copy_path(taught, open_index(taught).digest)
    for name in LANGUAGE_FILES:
        assert (first / name).samefile(second / name) and (second / name).stat().st_nlink == 2
        assert (folder(taught) / name).stat().st_nlink == 1, "which the stage replaces"
    shutil.rmtree(second)
    content = (first / MODEL).read_bytes()
    (first / MODEL).unlink()
    (first / MODEL).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    open_index(taught)
    assert (second / MODEL).stat().st_nlink == 1 and (second / MODEL).read_bytes() == content
    check_copy(second)
    with pytest.raises(MissingArtifact, match=f"{MODEL} is missing or damaged"):
        check_copy(first)
    shutil.rmtree(first)
    check_copy(second)


@pytest.mark.parametrize("name", ["captions_vectors.npy", "texts_vectors.npy"])
def test_a_copy_needs_all_files_of_its_language(taught: Path, name: str) -> None:
    digest = open_index(taught).digest
    copy = copy_path(taught, digest)
    (copy / name).rename(copy / "elsewhere")
    with pytest.raises(MissingArtifact, match=rf"{name}.*autolora verify"):
        open_copy(copy, digest)
    (copy / "language.safetensors").unlink()
    index = open_copy(copy, digest)  # as one that has learned none
    assert index.language is None and index.captions_vectors is None and not index.has_captions.any()
    (copy / "elsewhere").rename(copy / name)
    (copy / "language.safetensors").write_bytes(b"damaged")
    with pytest.raises(MissingArtifact, match=r"language\.safetensors is not a valid language"):
        open_copy(copy, digest)


def test_what_is_taken_down_leaves_the_vectors_of_captions_and_texts_beside_their_rows(taught: Path) -> None:
    index, vectors = open_index(taught), speech(taught)
    gone = {index.rows[row]["sha256"] for row in (0, 4, 11)}
    left = without(index, gone)
    assert left.captions_vectors is not None and left.language is index.language
    assert left.texts_vectors is not None and len(left.texts_vectors) == len(left.texts_trust) == 9
    kept = [row["sha256"] for row in left.rows]
    assert len(kept) == 9 and not gone & set(kept) and left.has_captions.shape == (9,)
    assert np.array_equal(left.captions_vectors, [vectors[sha256] for sha256 in kept])
