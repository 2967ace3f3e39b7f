"""Exact checks: what must hold for any index, and what no refresh may change for an adapter that is already served.

Encoder and text map are frozen between trainings, so the vectors of an adapter change only if its file, the recipe of
its sketch or its captions change.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autolora.captions.store import read_recipe
from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.dataset import store as dataset
from autolora.index.copies import Index
from autolora.pool import store as pool
from autolora.records import Caption, Listing
from autolora.releases.checks import Check
from autolora.storage.arrays import Float32Array, Int64Array
from autolora.storage.files import Row
from autolora.storage.incremental import digest_path, read_digest

TOLERANCE = 1e-5
"""of a cosine: vectors are float32, whose last bits differ between processors"""
UNIT_TOLERANCE = 1e-3
"""of the length of a vector, which a search takes for 1"""
MAX_NAMED = 3
"""adapters that a check names"""
INPUTS = ("sha256", "recipe", "captions_digest", "encoder_weights")
"""columns from which the vectors of an adapter follow"""

Encode = Callable[[Sequence[str]], Float32Array]
"""from texts (N,) to their features (N, d)"""


def self_checks(root: Path, index: Index) -> Iterator[Check]:
    """Yield the checks of an index by itself, which hold for a release of any age."""
    ids = index.rows.columns.column("sha256").to_pylist()
    yield _none("adapters listed twice", [sha256 for sha256, number in Counter(ids).items() if number > 1])
    yield _none(
        "vectors of another length than 1", [ids[row] for row in np.flatnonzero(~_is_unit(index.vectors))]
    )
    erased = takedowns.read(root).weights
    yield _none("adapters that were taken down", [sha256 for sha256 in ids if sha256 in erased])


def stage_checks(root: Path, index: Index) -> Iterator[Check]:
    """Yield the checks of an index against what the stages say that they have made."""
    expected = read_digest(root, "dataset")["tables"]["adapters"]
    rule = f"{expected}, as many as the dataset has"
    yield Check(name="adapters", value=len(index.rows), rule=rule, passed=len(index.rows) == expected)
    wanted = {
        "recipe": read_digest(root, "pool")["recipe"],
        "encoder": read_digest(root, "encoder")["sha256"],
    }
    names = ["sha256", *wanted]
    strange = [
        row["sha256"]
        for row in index.rows.columns.select(names).to_pylist()
        if any(row[name] != value for name, value in wanted.items())
    ]
    yield _none("rows of another recipe or encoder", strange)
    yield _none("captions of another recipe", [*_foreign_captions(root)])


def change_checks(
    root: Path, former: Index, index: Index, encode: Encode, queries: Sequence[str]
) -> Iterator[Check]:
    """Yield the checks of an index against the one that is served. queries: the pinned ones."""
    yield _same_training(root, former, index, encode)
    if former.encoder == index.encoder and former.text_encoder == index.text_encoder:
        yield _same_scores(former, index, encode(queries))
    yield _none("adapters lost without a reason", [*_lost(root, former, index)])


def _same_training(root: Path, former: Index, index: Index, encode: Encode) -> Check:
    """Compare the identity of the encoders; of a new training, say how it compares with the one before."""
    is_same = _identity(former) == _identity(index)
    detail = "" if is_same else (
        f"a new training: {_compare(root, former, index, encode)}; serve it with `autolora versions promote`"
    )  # fmt: skip
    return Check(
        name="trainings", value=int(not is_same), rule="0, the same as before", passed=is_same, detail=detail
    )


def _compare(root: Path, former: Index, index: Index, encode: Encode) -> str:
    from autolora.releases import trainings  # here, because it imports torch

    if former.text_encoder != index.text_encoder:
        return "its text encoder is another one, so they cannot be compared by the same queries"
    return trainings.describe(trainings.compare_trainings(root, former, index, encode))


def _identity(index: Index) -> tuple[Any, ...]:
    weights = index.rows.columns.column("encoder_weights").unique().to_pylist()
    return index.encoder, tuple(weights), index.text_encoder


def _same_scores(former: Index, index: Index, features: Float32Array) -> Check:
    """Compare the cosines of the pinned queries with all adapters whose inputs are the same, by both vectors."""
    before, after = unchanged(former, index)
    largest = np.zeros(len(before), np.float64)
    for name in ("vectors", "weights_vectors"):
        scores = (
            cosines(item, getattr(item, name)[rows], features)
            for item, rows in ((former, before), (index, after))
        )
        change = np.abs(next(scores) - next(scores))
        largest = np.maximum(largest, np.nan_to_num(change, nan=np.inf).max(axis=0, initial=0))
    changed = before[largest > TOLERANCE]
    return Check(
        name="score changes",
        value=float(largest.max(initial=0)),
        rule=f"at most {TOLERANCE:g} for all {len(before)} adapters that are as before",
        passed=not len(changed),
        detail=_named([former.rows[row]["id"] for row in changed[:MAX_NAMED].tolist()], len(changed)),
    )


def unchanged(former: Index, index: Index) -> tuple[Int64Array, Int64Array]:
    """Return the positions (n,) in both indexes of the adapters from whose inputs the same vectors follow."""
    places = {key: row for row, key in enumerate(_inputs(former))}
    pairs = [(places[key], row) for row, key in enumerate(_inputs(index)) if key in places]
    positions = np.array(pairs, np.int64).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]


def cosines(index: Index, vectors: Float32Array, features: Float32Array) -> Float32Array:
    """Return the cosines (Q, n) of texts, by their features (Q, d), and vectors (n, d) of an index."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    scores: Float32Array = index.text_map.apply(features) @ (vectors / lengths[:, None]).T
    return scores


def _inputs(index: Index) -> list[tuple[Any, ...]]:
    columns = index.rows.columns
    return list(zip(*(columns.column(name).to_pylist() for name in INPUTS), strict=True))


def _lost(root: Path, former: Index, index: Index) -> Iterator[str]:
    """Yield the names of the adapters that are missing although neither catalog nor pool says why."""
    present = set(index.rows.columns.column("sha256").to_pylist())
    columns = former.rows.columns.select(["sha256", "hub", "id", "file"]).to_pylist()
    gone = [row for row in columns if row["sha256"] not in present]
    if gone:
        listed = {(item.hub, item.id, item.file): item for item in catalog.read_all_or_empty(root)}
        verdicts, erased = pool.adapters(root), takedowns.read(root)
        for row in gone:
            listing = listed.get((row["hub"], row["id"], row["file"]))
            if row["sha256"] not in erased.weights and not _left(row, listing, verdicts):
                yield f"{row['hub']}:{row['id']}/{row['file']}"


def _left(row: Row, listing: Listing | None, verdicts: Mapping[str, Any]) -> bool:
    """Return whether catalog or pool say why an adapter left: withdrawn, excluded, replaced, waiting or refused."""
    if listing is None:
        return False
    adapter = verdicts.get(listing.key)
    if not listing.is_active or adapter is None:
        return not listing.is_active
    return adapter.sha256 != row["sha256"] or not adapter.accepted


def _foreign_captions(root: Path) -> Iterator[str]:
    """Yield the images with a caption that the recipe of the stage `captions` has not made."""
    recipe = read_recipe(root)
    if recipe is not None and digest_path(root, "dataset").exists():
        names = ("image", "prompt", "vlm", "length", "text")
        for row in dataset.rows(root, "captions", ("id", *names)):
            if not recipe.made(Caption(**{name: row[name] for name in names})):
                yield row["image"]


def _is_unit(vectors: Float32Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    lengths = np.linalg.norm(vectors, axis=1)
    close: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(lengths - 1) <= UNIT_TOLERANCE
    return close


def _none(name: str, offenders: Sequence[str]) -> Check:
    return Check(
        name=name, value=len(offenders), rule="0", passed=not offenders,
        detail=_named(offenders[:MAX_NAMED], len(offenders)),
    )  # fmt: skip


def _named(names: Sequence[str], number: int) -> str:
    more = f" and {number - len(names)} more" if number > len(names) else ""
    return ", ".join(names) + more
