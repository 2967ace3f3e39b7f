"""Poisons: what may go wrong in one night, from a bug of a stage to an attack on the hubs, each a function of a bed."""

import json
import math
import shutil
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from autolora.dataset.stage import DatasetSync
from autolora.encoder.stage import train
from autolora.index import store as index_store
from autolora.index.content import make_copy
from autolora.index.served import copy_path, served_path
from autolora.index.stage import IndexSync
from autolora.lora.sketch import sketch
from autolora.matching.language import Language
from autolora.pool import store as pool
from autolora.releases.checks import GATE
from autolora.releases.rates import MIN_NIGHTS
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.tables import read_arrow, schema_of, to_matrix
from tests.support.changing_repo import load_text_encoder
from tests.support.nights import (
    NOUNS,
    PLACES,
    QUERIES,
    Delivery,
    Nights,
    poisoned_delivery,
    same_dataset,
    update_index,
)
from tests.support.synthetic_repo import (
    BOUNDS,
    CONFIG,
    SLOTS,
    SPEC,
    encoder_params,
    make_lora,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Poison:
    """One kind of fault. Each function takes the bed, in the order of the fields."""

    name: str
    deliver: Callable[[Nights, Delivery], None] = Nights.deliver
    write: Callable[[Nights], None] = Nights.write
    dataset: Callable[[Nights, DatasetSync], DatasetSync] = lambda bed, sync: same_dataset(sync)
    index: Callable[[Nights, IndexSync], None] = lambda bed, sync: update_index(sync)
    after: Callable[[Nights], None] = lambda bed: None
    missed: str = ""
    """why the gate may promote it; empty if it must refuse"""

    def night(self, bed: Nights) -> None:
        """Run the poisoned night up to the gate."""
        self.deliver(bed, poisoned_delivery(bed.rng))
        self.write(bed)
        bed.run_stages(lambda sync: self.dataset(bed, sync), lambda sync: self.index(bed, sync))
        self.after(bed)


def rewrite_index(bed: Nights, change: Callable[[list[Row]], list[Row]], sign: bool = True) -> None:
    """Change the rows of the working index, as a stage with a fault writes them. sign: False leaves the row hashes."""
    columns = bed.open_index().columns
    vectors = index_store.vectors_in(columns)
    names = [*columns, "row_hash"]
    table = read_arrow(index_store.folder(bed.root), index_store.TABLE, names)
    rows = table.to_pylist()
    for name in vectors:
        for row, vector in zip(rows, to_matrix(table.column(name)), strict=True):
            row[name] = vector.copy()
    rows = change(rows)
    if sign:
        rows = [row | {"row_hash": index_store.hash_vector_row(row)} for row in rows]
    lists = [row | {name: row[name].tolist() for name in vectors} for row in rows]
    path = index_store.folder(bed.root) / f"{index_store.TABLE}.lance"
    shutil.rmtree(path)  # with the versions before
    lance.write_dataset(pa.Table.from_pylist(lists, schema=schema_of(columns)), str(path), mode="overwrite")
    if sign:
        bed.open_index().finish()


def change_some(
    change: Callable[[Nights, Row], Row], most: float = 0.2, served: bool = True
) -> Callable[[Nights], None]:
    """Return a poison of 1 up to a share `most` of the rows: of the served ones, else of the newcomers."""

    def after(bed: Nights) -> None:
        new = {item.sha256 for item in bed.newcomers}

        def rows(rows: list[Row]) -> list[Row]:
            able = [n for n, row in enumerate(rows) if (row["sha256"] in new) != served]
            chosen = set(bed.rng.sample(able, bed.rng.randint(1, max(1, int(most * len(able))))))
            return [change(bed, row) if n in chosen else row for n, row in enumerate(rows)]

        rewrite_index(bed, rows)

    return after


def turned(bed: Nights, vector: Float32Array, angle: float) -> Float32Array:
    """Return a vector turned by an angle in a random direction."""
    noise = np.random.default_rng(bed.rng.getrandbits(32)).standard_normal(vector.shape)
    length = float(np.linalg.norm(vector))
    unit = vector / max(length, 1e-12)
    across = noise - (noise @ unit) * unit
    across /= np.linalg.norm(across)
    changed: Float32Array = (length * (math.cos(angle) * unit + math.sin(angle) * across)).astype(np.float32)
    return changed


def turn(name: str) -> Callable[[Nights, Row], Row]:
    """Return a poison that turns a vector of a row by .02 to 1 rad."""
    return lambda bed, row: row | {name: turned(bed, row[name], bed.rng.choice((0.02, 0.1, 0.3, 1.0)))}


def exchange_text_map(bed: Nights) -> None:
    """Exchange the text map by a slightly or wholly different one."""
    path = index_store.folder(bed.root) / "text_map.safetensors"
    stored = load_file(path)
    noise = np.random.default_rng(bed.rng.getrandbits(32)).standard_normal(stored["matrix"].shape)
    share = bed.rng.choice((0.01, 0.1, 1.0))
    stored["matrix"] += (share * np.abs(stored["matrix"]).mean() * noise).astype(np.float32)
    save_file(stored, path)


def exchange_tokenizer(bed: Nights) -> None:
    """Exchange the ids of two letters in the tokenizer that the index has saved."""
    path = index_store.folder(bed.root) / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    first, second = bed.rng.sample([name for name in vocabulary if len(name) == 1 and name.isalpha()], 2)
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(content))


def alter_text_encoder(bed: Nights) -> None:
    """Add noise to a tensor of the text encoder in the folder of the pipeline."""
    path = bed.root / "pipeline/text_encoder/model.safetensors"
    tensors = load_file(path)
    name = bed.rng.choice([name for name, tensor in sorted(tensors.items()) if tensor.ndim == 2])
    tensors[name] = tensors[name] + np.float32(0.1) * np.roll(tensors[name], 1)
    save_file(tensors, path, {"format": "pt"})


def other_sentences(bed: Nights, sync: IndexSync) -> None:
    """Encode captions and texts by another sentence encoder than that of the searches, as after an update of its
    library.
    """
    encoder = bed.sentences
    random = np.random.default_rng(bed.rng.getrandbits(32))
    noise = (0.05 * random.standard_normal(encoder.width)).astype(np.float32)

    class Shifted:
        """A sentence encoder whose features are moved."""

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

        def encode(self, texts: Sequence[str]) -> Float32Array:
            features = np.asarray(encoder.encode(texts))
            moved: Float32Array = features + noise * np.linalg.norm(features, axis=-1, keepdims=True)
            return moved

    update_index(replace(sync, evidence=replace(sync.evidence, sentences=Shifted())))


def train_silently(bed: Nights) -> None:
    """Compute all vectors by an encoder that was trained again, under the name of the old one."""
    digest = (bed.root / "digests/encoder.json").read_text()
    encoder = load_text_encoder(bed.root / "pipeline")
    ridge = bed.rng.choice((0.01, 0.5, 2.0))
    list(train(bed.root, encoder_params(ridge=ridge), CONFIG, encoder, BOUNDS, sentences=bed.sentences))
    (bed.root / "digests/encoder.json").write_text(digest)
    sync = bed.open_index()
    for start in range(0, len(sync.expected), 64):
        sync.embed([*sync.expected][start : start + 64])
    sync.finish()


def lose(bed: Nights, sync: DatasetSync) -> DatasetSync:
    """Leave served adapters out of the dataset."""
    served = [item.sha256 for item in bed.accepted if item.listing.first_seen < bed.today]
    lost = set(bed.rng.sample(served, bed.rng.randint(1, 10)))
    return replace(sync, adapters={key: value for key, value in sync.adapters.items() if key not in lost})


def stay_behind(bed: Nights, sync: IndexSync) -> None:
    """Keep rows of adapters that have left, and leave out as many newcomers."""
    plan = sync.plan(1)
    skipped = max(1, len(plan.remove))
    for batch in plan.embed[skipped:]:
        sync.embed(batch)
    sync.update(plan.update)


def repeat_row(bed: Nights) -> None:
    """List adapters twice, with the same row."""
    rewrite_index(bed, lambda rows: [*rows, *bed.rng.sample(rows, bed.rng.randint(1, 5))])


def keep_replaced(bed: Nights) -> None:
    """List a file of the name of another one, as if a replaced version had stayed."""

    def change(rows: list[Row]) -> list[Row]:
        first, second = bed.rng.sample(rows, 2)
        names = {name: first[name] for name in ("hub", "id", "file")}
        return [row | names if row is second else row for row in rows]

    rewrite_index(bed, change)


def foreign_recipe(bed: Nights) -> None:
    """Give newcomers a sketch of another recipe."""
    bed.write()
    _change_rows(bed.root / "data/pool/adapters.jsonl", bed, {"recipe": hash_value("another recipe")})


def foreign_captions(**fields: str) -> Callable[[Nights, Delivery], None]:
    """Return a poison whose newcomers have captions of another recipe."""

    def deliver(bed: Nights, delivery: Delivery) -> None:
        bed.deliver(delivery)
        for item in bed.newcomers:
            captions = tuple(replace(caption, **fields) for caption in item.captions)  # type: ignore[arg-type]
            bed.put(replace(item, captions=captions))

    return deliver


def same_captions(bed: Nights, delivery: Delivery) -> None:
    """Caption all newcomers alike, as a server does that does not look at the image."""
    bed.deliver(delivery)
    texts = {"short": "a picture", "long": "a red cat by the sea in the mosaic style"}
    for item in bed.newcomers:
        captions = tuple(replace(caption, text=texts[caption.length]) for caption in item.captions)
        bed.put(replace(item, captions=captions))


def mixed_captions(bed: Nights, delivery: Delivery) -> None:
    """Give each image of newcomers the captions of another one, as a server does that mixes up its answers."""
    bed.deliver(delivery)
    images = [rendering.key for item in bed.newcomers for rendering in item.listing.renderings]
    texts = {
        (caption.image, caption.length): caption.text for item in bed.newcomers for caption in item.captions
    }
    bed.rng.shuffle(images)
    answered = dict(zip(images, [*images[1:], *images[:1]], strict=True))
    for item in bed.newcomers:
        captions = (
            replace(caption, text=texts[answered[caption.image], caption.length]) for caption in item.captions
        )
        bed.put(replace(item, captions=tuple(captions)))


def recaption_served(bed: Nights, delivery: Delivery) -> None:
    """Replace captions of served adapters by those of others, as if they had been asked for again."""
    bed.deliver(delivery)
    served = [item for item in bed.accepted if item.captions and item.listing.first_seen < bed.today]
    chosen = bed.rng.sample(served, int(bed.rng.uniform(0.5, 1) * len(served)))
    for item, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        texts = {caption.length: caption.text for caption in other.captions}
        captions = tuple(replace(caption, text=texts[caption.length]) for caption in item.captions)
        bed.put(replace(item, captions=captions))


def flood(verdict: str) -> Callable[[Nights, Delivery], None]:
    """Return a poison with many files of one hub that get a verdict."""

    def deliver(bed: Nights, delivery: Delivery) -> None:
        bed.deliver(delivery)
        sure = {"refused": {"refused": 1.0}, "copied": {"refused": 0.0, "copied": 1.0}}[verdict]
        for _ in range(bed.rng.randint(30, 60)):
            bed.add(replace(delivery, hubs={"civitai": 1.0}, **sure))  # type: ignore[arg-type]

    return deliver


def win_by(space: str) -> Callable[[Nights], None]:
    """Return a poison that points the vector of one newcomer at what some pinned queries ask for, which it then wins.

    space: captions or texts.
    """

    def after(bed: Nights) -> None:
        sync = bed.open_index()
        assert sync.sentences is not None
        (asked,) = getattr(sync.language, space).parts(sync.sentences.encode([bed.rng.choice(NOUNS[:4])]))
        vector = (asked / np.linalg.norm(asked)).astype(np.float32)
        chosen = bed.rng.choice([item.sha256 for item in bed.newcomers if item.captions])
        rewrite_index(
            bed,
            lambda rows: [
                row | {f"{space}_vector": vector} if row["sha256"] == chosen else row for row in rows
            ],
        )

    return after


def lose_captions(bed: Nights) -> None:
    """Empty the captions' vectors of newcomers, as a stage does that reads no captions in time."""
    rewrite_index(bed, lambda rows: _without_captions(rows, {item.sha256 for item in bed.newcomers}))


def lose_first_captions(bed: Nights) -> None:
    """Empty all captions' vectors of a first release."""
    rewrite_index(bed, lambda rows: _without_captions(rows, {row["sha256"] for row in rows}))
    served_path(bed.root).unlink()
    (bed.root / GATE).unlink()


def _without_captions(rows: list[Row], adapters: Set[str]) -> list[Row]:
    empty = {"captions_vector": np.zeros_like(rows[0]["captions_vector"])}
    return [row | empty if row["sha256"] in adapters else row for row in rows]


def early(deliver: Callable[[Nights, Delivery], None]) -> Callable[[Nights, Delivery], None]:
    """Return a poison of one of the first nine nights, of which the gate has no history yet."""

    def deliver_early(bed: Nights, delivery: Delivery) -> None:
        kept = [*read_rows(bed.root / GATE)][: bed.rng.randint(1, MIN_NIGHTS)]  # the first release and nights
        write_rows(bed.root / GATE, kept)
        deliver(bed, delivery)

    return deliver_early


def caption_by_queries(bed: Nights, delivery: Delivery) -> None:
    """Add adapters, each of whose galleries shows what one pinned query asks for."""
    bed.deliver(delivery)
    for query in bed.rng.sample(QUERIES, bed.rng.randint(15, 30)):
        item = bed.add(replace(delivery, refused=0, copied=0))
        images = [hash_value(["bait", bed.number, query, n]) for n in range(3)]
        item = bed.shown(item, images, query.split()[1])
        texts = {"short": query, "long": f"{query} {bed.rng.choice(PLACES)}"}
        captions = tuple(replace(caption, text=texts[caption.length]) for caption in item.captions)
        bed.put(replace(item, captions=captions))


def mislabel(bed: Nights, delivery: Delivery) -> None:
    """Deliver many files whose galleries show something else."""
    bed.deliver(replace(delivery, mislabelled=bed.rng.uniform(0.7, 1)))


def take_down_served(by_name: bool) -> Callable[[Nights], None]:
    """Return a poison in which adapters are in the index although they were taken down."""

    def write(bed: Nights) -> None:
        for item in bed.rng.sample(bed.accepted, bed.rng.randint(1, 4)):
            bed.take_down(item, by_name)
        bed.write()

    return write


def fill(name: str, value: float) -> Callable[[Nights, Row], Row]:
    """Return a poison that sets a number of a vector, or all if it is 0."""

    def change(bed: Nights, row: Row) -> Row:
        vector = row[name].copy()
        if value == 0:
            vector[:] = 0
        else:
            vector[bed.rng.randrange(len(vector))] = value
        return row | {name: vector}

    return change


def scale(bed: Nights, row: Row) -> Row:
    """Return a row whose vector of texts is not of length 1."""
    return row | {"texts_vector": row["texts_vector"] * np.float32(bed.rng.choice((0.5, 0.98, 3.0)))}


def withdraw_hub(low: float, high: float) -> Callable[[Nights, Delivery], None]:
    """Return a poison in which a hub withdraws a share of its files."""

    def deliver(bed: Nights, delivery: Delivery) -> None:
        bed.deliver(delivery)
        hub = bed.rng.choice(("civitai", "huggingface"))
        own = [item for item in bed.active if item.listing.hub == hub and item.listing.first_seen < bed.today]
        for item in bed.rng.sample(own, math.ceil(bed.rng.uniform(low, high) * len(own))):
            bed.withdraw(item)

    return deliver


def withdraw_all(bed: Nights, delivery: Delivery) -> None:
    """Withdraw everything."""
    bed.deliver(delivery)
    for item in bed.active:
        bed.withdraw(item)


def tamper(bed: Nights) -> None:
    """Change a vector on disk, but not its hash."""
    rewrite_index(
        bed,
        lambda rows: [
            turn("weights_vector")(bed, row) if n == len(rows) // 2 else row for n, row in enumerate(rows)
        ],
        sign=False,
    )


def damage_copy(bed: Nights) -> None:
    """Change a vector in the copy of the new index, which was made before."""
    digest = index_store.content_digest(bed.root)
    folder = copy_path(bed.root, digest)
    make_copy(folder, digest, index_store.folder(bed.root))
    path = folder / "weights_vectors.npy"
    path.chmod(0o644)
    vectors = np.load(path)
    new = {item.sha256 for item in bed.newcomers}
    rows = read_arrow(index_store.folder(bed.root), index_store.TABLE, ["sha256"]).column(0).to_pylist()
    position = bed.rng.choice([n for n, sha256 in enumerate(rows) if sha256 in new])
    vectors[position] = turned(bed, vectors[position], 1.0)
    np.save(path, vectors)


def lose_trust(bed: Nights, row: Row) -> Row:
    """Return a row that states no number by which its texts are trusted."""
    return row | {"texts_trust": math.nan}


def trust_more(bed: Nights, row: Row) -> Row:
    """Return a row whose texts are trusted more."""
    return row | {"texts_trust": float(np.float32(row["texts_trust"] + bed.rng.choice((0.01, 1, 5))))}


def lose_flags(bed: Nights, row: Row) -> Row:
    """Return a row that states another restriction than the catalog."""
    return row | {"nsfw": not row["nsfw"], "license": "mit"}


def hide_flags(bed: Nights, delivery: Delivery) -> None:
    """Deliver listings whose hub has ceased to state licenses."""
    bed.deliver(delivery)
    for item in bed.newcomers:
        bed.put(replace(item, listing=replace(item.listing, license=None)))


def calibrate(bed: Nights) -> None:
    """Change the language of the index, by which relevance is known and adapters are selected."""
    folder = index_store.folder(bed.root)
    language = Language.load(folder)
    assert language is not None
    replace(language, coefficients=bed.rng.choice((0.5, 2)) * language.coefficients).save(folder)


def exchange_sketches(bed: Nights) -> None:
    """Save the sketch of each newcomer under the name of the next one."""
    bed.write()
    new = bed.newcomers
    for item, other in zip(new, [*new[1:], *new[:1]], strict=True):
        pool.save_sketch(bed.root, item.sha256, sketch(other.lora, SLOTS, SPEC))


def noise_sketches(bed: Nights) -> None:
    """Save sketches of newcomers that have nothing to do with their files."""
    bed.write()
    for item in bed.newcomers:
        lora = make_lora(f"noise {item.sha256}", bed.rng.randrange(10**6))
        pool.save_sketch(bed.root, item.sha256, sketch(lora, SLOTS, SPEC))


def same_sketch(bed: Nights) -> None:
    """Save one sketch under the names of all newcomers."""
    bed.write()
    for item in bed.newcomers:
        pool.save_sketch(bed.root, item.sha256, sketch(bed.newcomers[0].lora, SLOTS, SPEC))


FEW_READ = "the evidence of eight newcomers is read again"
FEW = "the check of captions notices only a part of the wrong ones, and few of a small night"
POISONS = (
    Poison(name="texts' vectors of served adapters altered", after=change_some(turn("texts_vector"))),
    Poison(name="weights' vectors of served adapters altered", after=change_some(turn("weights_vector"))),
    Poison(
        name="weights' vectors of newcomers altered",
        after=change_some(turn("weights_vector"), 1.0, served=False),
        missed=FEW_READ,
    ),
    Poison(name="text map exchanged", after=exchange_text_map),
    Poison(name="tokenizer of the index exchanged", after=exchange_tokenizer),
    Poison(name="text encoder altered after the index", after=alter_text_encoder),
    Poison(name="captions and texts encoded by another sentence encoder", index=other_sentences),
    Poison(name="encoder trained again silently", after=train_silently),
    Poison(name="adapters lost without a reason", dataset=lose),
    Poison(name="index left behind the dataset", index=stay_behind),
    Poison(name="an adapter twice", after=repeat_row),
    Poison(name="two files under one name", after=keep_replaced),
    Poison(name="sketches of another recipe", write=foreign_recipe),
    Poison(name="captions of another instruction", deliver=foreign_captions(prompt=hash_value("another"))),
    Poison(name="captions of another captioner", deliver=foreign_captions(vlm="w" * 64)),
    Poison(name="the same caption for all newcomers", deliver=same_captions),
    Poison(name="captions of other images", deliver=mixed_captions, missed=FEW),
    Poison(name="captions of served adapters rewritten", deliver=recaption_served),
    Poison(
        name="the same caption for all newcomers of an early night", deliver=early(same_captions), missed=FEW
    ),
    Poison(name="captions of other images on an early night", deliver=early(mixed_captions), missed=FEW),
    Poison(name="flood of near-duplicates", deliver=flood("copied")),
    Poison(name="flood of refused files", deliver=flood("refused")),
    Poison(name="a newcomer's captions' vector set to that of queries", after=win_by("captions")),
    Poison(name="a newcomer's texts' vector set to that of queries", after=win_by("texts")),
    Poison(name="empty captions' vectors of newcomers", after=lose_captions),
    Poison(name="empty captions' vectors at the first release", after=lose_first_captions),
    Poison(
        name="galleries made for the queries",
        deliver=caption_by_queries,
        missed="each adapter wins the query that its gallery shows, as a right one does",
    ),
    Poison(name="many mislabelled newcomers", deliver=mislabel, missed=FEW),
    Poison(name="adapters that were taken down", write=take_down_served(False)),
    Poison(name="adapters that were taken down by name", write=take_down_served(True)),
    Poison(name="NaN in texts' vectors", after=change_some(fill("texts_vector", math.nan))),
    Poison(
        name="NaN in newcomers' weights' vectors",
        after=change_some(fill("weights_vector", math.nan), served=False),
    ),
    Poison(name="trust in texts of served adapters altered", after=change_some(trust_more)),
    Poison(
        name="trust in texts of newcomers altered",
        after=change_some(trust_more, served=False),
        missed=FEW_READ,
    ),
    Poison(name="NaN in trust in texts", after=change_some(lose_trust, served=False)),
    Poison(
        name="empty texts' vectors of newcomers",
        after=change_some(fill("texts_vector", 0), served=False),
        missed=FEW_READ,
    ),
    Poison(name="texts' vectors of another length", after=change_some(scale, 1.0, served=False)),
    Poison(name="half of a hub withdrawn", deliver=withdraw_hub(0.4, 0.6)),
    Poison(name="all of a hub withdrawn", deliver=withdraw_hub(1, 1)),
    Poison(name="everything withdrawn", deliver=withdraw_all),
    Poison(name="rows changed on disk", after=tamper),
    Poison(name="copy of the index changed on disk", after=damage_copy),
    Poison(name="restrictions lost by the index", after=change_some(lose_flags, 1.0, served=False)),
    Poison(
        name="licenses no longer stated by the hubs",
        deliver=hide_flags,
        missed="what a hub states is compared with nothing",
    ),
    Poison(name="relevance altered", after=calibrate),
    Poison(name="sketches of other newcomers", write=exchange_sketches, missed=FEW),
    Poison(
        name="sketches of noise",
        write=noise_sketches,
        missed="a sketch is compared with nothing, and captions that no prediction contradicts count",
    ),
    Poison(name="one sketch for all newcomers", write=same_sketch, missed=FEW),
)


def _change_rows(path: Path, bed: Nights, fields: Row) -> None:
    new = {item.listing.key for item in bed.newcomers}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    changed = (row | fields if row["key"] in new else row for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in changed))
