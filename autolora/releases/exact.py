"""Exact checks: what must hold for any index, and what no refresh may change for an adapter that is already served.

Encoder and text map are frozen between trainings, so the vectors of an adapter change only if its file, the recipe of
its sketch or its captions change.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from autolora.captions.store import read_recipe
from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.names import full_name
from autolora.dataset import store as dataset
from autolora.index.copies import Index
from autolora.index.descriptions import SAID, texts_of, whole_text_of
from autolora.index.store import EXACT_COLUMNS
from autolora.matching.language import Language
from autolora.pool import store as pool
from autolora.records import Adapter, Caption, Listing
from autolora.releases.checks import Check
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from autolora.storage.files import Row
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest
from autolora.storage.tables import read_arrow, read_where
from autolora.text_encoder.sentences import load_saved

TOLERANCE = 1e-5
"""of a cosine: vectors are float32, whose last bits differ between processors"""
UNIT_TOLERANCE = 1e-3
"""of the length of a vector, which a search takes for 1, and of the numbers of one that is computed again"""
MAX_NAMED = 3
"""adapters that a check names"""
WEIGHTS_INPUTS = ("sha256", "recipe", "encoder_weights")
"""columns from which the vector of an adapter's weights follows"""
INPUTS = (*WEIGHTS_INPUTS, "captions_digest", *SAID)
"""columns from which its other vectors follow"""
NAME = ("hub", "id", "file")
NO_CAPTIONS = hash_value([])
"""captions_digest of an adapter without captions"""
SPOT_CHECKS = 8
"""newcomers whose evidence is read again"""
NOTHING = np.zeros(0, np.bool_)
BLOCK = 4096
"""rows that are compared at once, which bounds the memory"""

Encode = Callable[[Sequence[str]], Float32Array]
"""from texts (N,) to their features (N, d)"""


def self_checks(root: Path, index: Index) -> Iterator[Check]:
    """Yield the checks of an index by itself, which hold for a release of any age."""
    ids, keys = _texts(index, ("sha256",)), _texts(index, NAME)
    yield _none("adapters listed twice", _repeated(sha256 for (sha256,) in ids))
    yield _none("names of several files", _repeated(full_name(*key) for key in keys))
    for name, is_right in (
        ("vectors of weights that are not numbers", np.isfinite(index.weights_vectors).all(axis=1)),
        ("vectors of captions of another length than 0 or 1", _is_unit_or_zero(index.captions_vectors)),
        ("vectors of texts of another length than 0 or 1", _is_unit_or_zero(index.texts_vectors)),
        ("vectors of whole texts of another length than 0 or 1", _is_unit_or_zero(index.whole_texts_vectors)),
        ("trust in texts that is no number", np.isfinite(index.texts_trust) if index.language else NOTHING),
    ):
        yield _none(name, [full_name(*keys[row]) for row in np.flatnonzero(~is_right)])
    taken = takedowns.read(root)
    unknown = {
        (row.hub, row.id, row.file) for row in taken.rows if row.kind == "weights" and row.sha256 is None
    }
    yield _none(
        "adapters that were taken down",
        [
            full_name(*key)
            for (sha256,), key in zip(ids, keys, strict=True)
            if sha256 in taken.weights or key in unknown
        ],
    )


def stage_checks(root: Path, index: Index) -> Iterator[Check]:
    """Yield the checks of an index against what the stages say that they have made."""
    yield _none("adapters that are not as in the dataset", [*_unlike_dataset(root, index)])
    recipe, encoder = read_digest(root, "pool")["recipe"], read_digest(root, "encoder")["sha256"]
    rows = _texts(index, ("sha256", "recipe", "encoder"))
    yield _none(
        "rows of another recipe or encoder", [key for key, *made_by in rows if made_by != [recipe, encoder]]
    )
    yield _none("captions of another recipe", [*_foreign_captions(root)])


def spot_rows(former: Index | None, index: Index, winners: Sequence[str]) -> list[int]:
    """Return the rows whose evidence is to be read again: newcomers with captions or texts, those that win most queries
    first, and one served adapter.

    winners: sha256 of the first hits of the pinned queries.
    """
    known = set(_texts(former, ("sha256",))) if former else set()
    wins, ids = Counter(winners), _texts(index, ("sha256",))
    described = [row for row, item in enumerate(index.rows) if _has_captions(item) or texts_of(item)]
    order = sorted(described, key=lambda row: -wins[ids[row][0]])
    new, served = ([row for row in order if (ids[row] in known) is wanted] for wanted in (False, True))
    return [*new[:1], *served[:1], *new[1:SPOT_CHECKS]]


def change_checks(
    root: Path, former: Index, index: Index, features: tuple[Float32Array, Float32Array], encode: Encode
) -> Iterator[Check]:
    """Yield the checks of an index against the one that is served.

    features: of the pinned queries (Q, d), as a search of each of the two computes them. encode: of the present one.
    """
    yield _same_training(root, former, index, encode)
    yield _read_again(former, index)
    if former.encoder == index.encoder and former.text_encoder == index.text_encoder:
        yield _same_scores(former, index, features)
    yield _none("adapters lost without a reason", [*_lost(root, former, index)])
    is_emptied = len(former.rows) > 0 and len(index.rows) == 0
    yield Check(name="index without any adapter", value=int(is_emptied), rule="0", passed=not is_emptied)


def _same_training(root: Path, former: Index, index: Index, encode: Encode) -> Check:
    """Compare the identity of the encoders; of a new training, say how it compares with the one before."""
    before, after = set(_texts(former, ("encoder_weights",))), set(_texts(index, ("encoder_weights",)))
    is_same = _identity(former) == _identity(index) and (before == after or not (before and after))
    detail = "" if is_same else (
        "the encoder is not that of the served index, and a new training is served only if you say so. "
        f"{_compare(root, former, index, encode)}"
    )  # fmt: skip
    return Check(name="trainings", value=int(not is_same), rule="", passed=is_same, detail=detail)


def _compare(root: Path, former: Index, index: Index, encode: Encode) -> str:
    from autolora.releases import trainings  # here, because it imports torch

    if former.text_encoder != index.text_encoder:
        return "Both cannot be compared by the same queries, because the text encoder is another one"
    return trainings.describe(trainings.compare_trainings(root, former, index, encode))


def _read_again(former: Index, index: Index) -> Check:
    """Count the served adapters with a sketch of another recipe, whose vectors cannot be expected to be the same."""
    recipes = dict(_texts(former, ("sha256", "recipe")))
    rows = _texts(index, ("sha256", "recipe"))
    number = sum(recipes.get(sha256, recipe) != recipe for sha256, recipe in rows)
    detail = "" if not number else (
        "code or params of the stage `pool` have changed: compare both (`autolora versions diff`), then promote it "
        "(`autolora versions promote`)"
    )  # fmt: skip
    return Check(name="adapters read again", value=number, rule="0", passed=not number, detail=detail)


def _identity(index: Index) -> tuple[Any, ...]:
    language = index.language and index.language.digest
    return index.encoder, index.text_encoder, language


def _same_scores(former: Index, index: Index, features: tuple[Float32Array, Float32Array]) -> Check:
    """Compare adapters whose inputs are the same: cosines of the pinned queries with their weights, the numbers of the
    vectors of captions and texts, and the trust in texts."""
    queries = former.text_map.apply(features[0]), index.text_map.apply(features[1])
    largest = np.zeros(len(former.rows), np.float64)
    for part in _blocks(unchanged(former, index, WEIGHTS_INPUTS)):
        before, after = (
            cosines(source.weights_vectors[rows], asked)
            for source, rows, asked in zip((former, index), part.T, queries, strict=True)
        )
        _raise_to(largest, part[:, 0], np.abs(before - after).max(axis=0))
    if former.language and index.language:
        for part in _blocks(unchanged(former, index, INPUTS)):
            for name in ("captions_vectors", "texts_vectors", "whole_texts_vectors", "texts_trust"):
                before, after = getattr(former, name)[part[:, 0]], getattr(index, name)[part[:, 1]]
                _raise_to(largest, part[:, 0], np.abs(before - after).reshape(len(part), -1).max(axis=1))
    changed = np.flatnonzero(largest > TOLERANCE)
    return Check(
        name="score changes",
        value=float(largest.max(initial=0)),
        rule=f"at most {TOLERANCE:g} for all {len(unchanged(former, index, INPUTS))} adapters that are as before",
        passed=not len(changed),
        detail=_named([former.rows[row]["id"] for row in changed[:MAX_NAMED].tolist()], len(changed)),
    )


def _raise_to(largest: Float64Array, rows: Int64Array, changes: Float32Array) -> None:
    """Raise the values (N,) at rows (n,) to changes (n,), of which one that is no number is infinite."""
    largest[rows] = np.maximum(largest[rows], np.nan_to_num(changes, nan=np.inf))


def unchanged(former: Index, index: Index, inputs: Sequence[str]) -> Int64Array:
    """Return the positions (n, 2) in both indexes of the adapters whose columns `inputs` are the same."""
    places = {hash_value(key): row for row, key in enumerate(_texts(former, inputs))}
    keys = enumerate(map(hash_value, _texts(index, inputs)))
    pairs = [(places[key], row) for row, key in keys if key in places]
    return np.array(pairs, np.int64).reshape(-1, 2)


def cosines(vectors: Float32Array, queries: Float32Array) -> Float32Array:
    """Return the cosines (Q, n) of unit vectors (Q, d) and vectors (n, d)."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    scores: Float32Array = queries @ (vectors / lengths[:, None]).T
    return scores


def _blocks(rows: Int64Array) -> Iterator[Int64Array]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _texts(index: Index, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return columns as one tuple per row."""
    return list(zip(*(index.rows.columns.column(name).to_pylist() for name in names), strict=True))


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, number in Counter(names).items() if number > 1]


def _unlike_dataset(root: Path, index: Index) -> Iterator[str]:
    """Yield the adapters that either index or dataset lacks, or that have other columns in the index."""
    names = [name for name in EXACT_COLUMNS if name != "encoder"]  # which the index adds
    rows = read_arrow(dataset.folder(root), "adapters", names).to_pylist()
    expected = {row["sha256"]: row for row in rows}
    for row in index.rows.columns.select(names).to_pylist():
        if expected.pop(row["sha256"], None) != row:
            yield row["sha256"]
    yield from expected


def evidence_checks(root: Path, index: Index, chosen: Sequence[int], encode: Encode) -> Iterator[Check]:
    """Yield the checks that just the adapters whose captions count have vectors of these, that none without texts has
    one of texts, and that evidence follows from weights, captions and texts.

    chosen: positions of the rows whose evidence is read again. encode: of the text encoder.
    """
    if index.language:
        yield from _language_checks(index, index.language)
    wrong = [index.rows[row]["id"] for row in _unlike_evidence(root, index, chosen, encode)]
    yield _none("evidence that follows from no weights, captions and texts", wrong)


def _language_checks(index: Index, language: Language) -> Iterator[Check]:
    counts, is_sure = _counts_captions(index, language.min_length)
    has_texts = np.array([bool(texts_of(row)) for row in index.rows], np.bool_)
    for name, is_wrong in (
        ("captions that count, without a vector", counts & ~index.has_captions & is_sure),
        ("vectors of captions that do not count", ~counts & index.has_captions & is_sure),
        ("vectors of texts without a text", index.evidence.texts.any(axis=1) & ~has_texts),
    ):
        yield _none(name, [index.rows[row]["id"] for row in np.flatnonzero(is_wrong).tolist()])


def _unlike_evidence(root: Path, index: Index, chosen: Sequence[int], encode: Encode) -> Iterator[int]:
    """Yield the rows whose evidence is another if it is read again."""
    from autolora.encoder import model, store  # here, because they import torch
    from autolora.index.evidence import EvidenceReader

    def embed(texts: Sequence[str]) -> Float64Array:
        return index.text_map.apply(encode(texts)).astype(np.float64)

    rule = model.caption_rule(store.load_encoder(store.folder(root)))
    sentences = load_saved(index.language_folder) if index.language_folder else None
    reader = EvidenceReader(rule, embed, index.language, sentences)
    for row in chosen:
        item, weights = index.rows[row], np.array(index.weights_vectors[row])
        captions = _captions(root, item["sha256"])
        read = reader.read(weights, captions, texts_of(item), whole_text_of(item), item["drawn"])
        stored = {
            name: getattr(index, f"{name}s")[row] if name.endswith("_vector") else item[name] for name in read
        }
        if not all(_is_same(read[name], stored[name]) for name in read):
            yield row


def _is_same(first: Any, second: Any) -> bool:
    """Return whether two values are the same, numbers within UNIT_TOLERANCE."""
    if first is None or isinstance(first, str):
        return bool(first == second)
    return second is not None and bool(np.allclose(np.float64(first), np.float64(second), 0, UNIT_TOLERANCE))


def _counts_captions(index: Index, min_length: float) -> tuple[BoolArray, BoolArray]:
    """Return of which adapters (N,) the captions count, and whether that is sure: a length near the limit may round.

    They count if they do not contradict the weights, or if these resemble those of no training adapter.
    """
    rows = index.rows.columns
    has_some = pc.not_equal(rows.column("captions_digest"), NO_CAPTIONS).to_numpy(zero_copy_only=False)
    is_contradicted = pc.invert(rows.column("uses_captions")).fill_null(False).to_numpy(zero_copy_only=False)
    lengths = index.weights_lengths
    is_sure = ~is_contradicted | (np.abs(lengths - min_length) >= UNIT_TOLERANCE * min_length)
    return has_some & (~is_contradicted | (lengths < min_length)), is_sure


def _has_captions(row: Row) -> bool:
    return bool(row["captions_digest"] != NO_CAPTIONS)


def _captions(root: Path, adapter: str) -> list[list[str]]:
    """Return the captions of each rendering of an adapter that has some, in the order in which the index read them.

    The order decides which of two captions is the typical one if both are equally near to all.
    """
    tables, names = dataset.folder(root), ["image", "prompt", "vlm", "length", "text"]
    shown = read_where(tables, "adapters", ["sha256", "renderings"], "sha256", [adapter])
    images = [image for row in shown for image in row["renderings"]]
    captions = dataset.group_by_image(
        Caption(**row) for row in read_where(tables, "captions", names, "image", images)
    )
    return [[caption.text for caption in captions[image]] for image in images if image in captions]


def _lost(root: Path, former: Index, index: Index) -> Iterator[str]:
    """Yield the names of the adapters that are missing although neither catalog nor pool says why."""
    present = set(index.rows.columns.column("sha256").to_pylist())
    gone = [
        (sha256, tuple(key)) for sha256, *key in _texts(former, ("sha256", *NAME)) if sha256 not in present
    ]
    if gone:
        listed = {(item.hub, item.id, item.file): item for item in catalog.read_all_or_empty(root)}
        verdicts, erased = pool.adapters(root), takedowns.read(root).weights
        for sha256, key in gone:
            if sha256 not in erased and not _left(sha256, listed.get(key), verdicts):
                yield full_name(*key)


def _left(sha256: str, listing: Listing | None, verdicts: Mapping[str, Adapter]) -> bool:
    """Return whether catalog or pool say why an adapter left: withdrawn, excluded, replaced, waiting or refused."""
    if listing is None or not listing.is_active:
        return listing is not None
    adapter = verdicts.get(listing.key)
    return adapter is not None and (adapter.sha256 != sha256 or not adapter.accepted)


def _foreign_captions(root: Path) -> Iterator[str]:
    """Yield the images with a caption that the recipe of the stage `captions` has not made."""
    recipe = read_recipe(root)
    if recipe is None:
        return
    names = ("prompt", "vlm")
    table = read_arrow(dataset.folder(root), "captions", ["image", *names])
    for made in table.group_by(names).aggregate([]).to_pylist():
        if not recipe.made(Caption(image="", length="", text="", **made)):
            same = pc.and_(*(pc.equal(table.column(name), made[name]) for name in names))
            yield from table.filter(same).column("image").to_pylist()


def _is_unit(vectors: Float32Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    lengths = np.linalg.norm(vectors, axis=1)
    close: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(lengths - 1) <= UNIT_TOLERANCE
    return close


def _is_unit_or_zero(vectors: Float32Array | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each vector whether it is zero or of length 1; nothing if there are none."""
    if vectors is None:
        return NOTHING
    return _is_unit(vectors) | ~vectors.any(axis=1)


def _none(name: str, offenders: Sequence[str]) -> Check:
    return Check(
        name=name, value=len(offenders), rule="0", passed=not offenders,
        detail=_named(offenders[:MAX_NAMED], len(offenders)),
    )  # fmt: skip


def _named(names: Sequence[str], number: int) -> str:
    more = f" and {number - len(names)} more" if number > len(names) else ""
    return ", ".join(names) + more
