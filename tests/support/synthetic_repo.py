"""A fabricated root: catalog, pool and captions as the stages before `dataset` leave them, and a text tower.

Adapters are random low-rank updates around themes; files and rows are real, only drawn at random.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from autolora.dataset import stage as dataset
from autolora.encoder import stage as encoder
from autolora.index import stage as index
from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import SketchSpec, sketch
from autolora.models import ClipTextEncoder
from autolora.params import DatasetParams, EncoderParams, PoolParams
from autolora.pool import store as pool
from autolora.presets import EncoderForm
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.slots import slots
from autolora.storage.files import hash_file, hash_value, write_rows
from autolora.storage.incremental import read_digest
from tests.lora.writing import peft, write

CONFIG = {
    "num_layers": 1,
    "num_single_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
}
SLOTS = slots(CONFIG)
SPEC = SketchSpec(size=16)
DAY = datetime.date(2026, 1, 1)
WIDTH = 32
THEMES = ("watercolour", "mosaic", "neon", "linocut", "pixel", "chalk")
DATASET = DatasetParams(train_until=DAY, test_share=0.34, family_cosine=0.95, salt="tests")
BOUNDS = PoolParams(
    max_header_mb=1,
    max_rank=64,
    min_known_keys=1.0,
    max_image_mb=1,
    max_image_px=10_000,
    sketch_size=SPEC.size,
    near_duplicate_cosine=0.99,
)
ENCODER = EncoderParams(
    preset="best",
    probe="sketch",
    **dict.fromkeys(field.name for field in fields(EncoderForm)) | {"probes": 2},
    layers=1,
    heads=4,
    mlp_ratio=2,
    dropout=0.1,
    steps=60,
    batch=8,
    learning_rate=0.002,
    weight_decay=0.05,
    slot_dropout=0.2,
    sketch_noise=0.3,
    seed=0,
)


@dataclass(frozen=True, slots=True)
class Made:
    """One fabricated adapter."""

    theme: str
    author: int
    lora: Lora
    listing: Listing
    captions: tuple[Caption, ...]

    @property
    def sha256(self) -> str:
        return pool_key(self.listing)


def pool_key(listing: Listing) -> str:
    assert listing.sha256 is not None
    return listing.sha256


def fabricate_lora(
    theme: str, author: int, rank: int = 2, likeness: float = 0.6, skip: Sequence[str] = ()
) -> Lora:
    """Draw an update of `rank`: `likeness` of it is the theme's, the rest the author's own."""
    lora = {}
    for slot in SLOTS:
        if any(word in slot.name for word in skip):
            continue
        own = _generator(theme, author, slot.name)
        shared = _generator(theme, slot.name)
        down = likeness * torch.randn(2, slot.d_in, generator=shared)
        up = torch.randn(slot.d_out, 2, generator=shared)
        noise = (1 - likeness) * torch.randn(rank, slot.d_in, generator=own)
        more = torch.randn(slot.d_out, rank, generator=own)
        lora[slot.name] = Factors(down=torch.cat((down, noise)), up=torch.cat((up, more), dim=1), scale=0.1)
    return lora


def make(
    theme: str, author: int, day: datetime.date = DAY, lora: Lora | None = None, **fields: object
) -> Made:
    """Fabricate an adapter with two renderings and two captions each."""
    name = f"author{author}/{theme}"
    sha256 = hash_value(["file", name])
    images = [hash_value(["image", name, n]) for n in range(2)]
    listing = Listing(
        hub="huggingface",
        id=name,
        version="a" * 40,
        file="lora.safetensors",
        url=f"http://127.0.0.1/{name}",
        size=1000,
        sha256=sha256,
        license="apache-2.0",
        base_model="FLUX.1-dev",
        nsfw=False,
        trigger_words=(),
        renderings=tuple(
            ListedRendering(url=f"http://127.0.0.1/{image}", sha256=image, prompt=None) for image in images
        ),
        first_seen=day,
    )
    listing = replace(listing, **fields)  # type: ignore[arg-type]
    captions = tuple(
        Caption(image=image, prompt=length * 8, vlm="v" * 64, length=length, text=words.format(theme, n))
        for n, image in enumerate(images)
        for length, words in (("short", "a {0} drawing"), ("long", "a drawing of thing {1} in the {0} style"))
    )
    return Made(theme, author, fabricate_lora(theme, author) if lora is None else lora, listing, captions)


def make_pool(
    authors: Sequence[int] = (0, 1, 2), themes: Sequence[str] = THEMES, day: datetime.date = DAY
) -> list[Made]:
    """Fabricate one adapter for each theme and author."""
    return [make(theme, author, day) for theme in themes for author in authors]


def write_root(root: Path, made: Sequence[Made]) -> None:
    """Write catalog, pool and captions for exactly these adapters."""
    listings = sorted((one.listing for one in made), key=lambda one: (one.hub, one.id, one.file))
    write_rows(root / "data" / "catalog.jsonl", [listing.to_row() for listing in listings])
    adapters = {one.listing.key: _adapter(one) for one in made}
    write_rows(root / "data/pool/adapters.jsonl", [adapters[key].to_row() for key in sorted(adapters)])
    pictures = sorted(
        {picture.sha256 for one in made for picture in one.listing.renderings if picture.sha256}
    )
    rows = [PooledRendering(key=key, sha256=key, width=64, height=64) for key in pictures]
    write_rows(root / "data/pool/renderings.jsonl", [_row(row) for row in rows])
    captions = {(c.image, c.prompt, c.vlm): c for one in made for c in one.captions}
    write_rows(root / "data/captions/captions.jsonl", [_row(captions[key]) for key in sorted(captions)])
    for one in made:
        pool.save_sketch(root, one.sha256, sketch(one.lora, SLOTS, SPEC))


def write_weights(root: Path, made: Sequence[Made]) -> None:
    """Write the adapters' files into the pool, for encoders that read them."""
    for one in made:
        path = pool.weights_path(root, one.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, peft(one.lora))


def _adapter(one: Made) -> Adapter:
    return Adapter(
        key=one.listing.key,
        sha256=one.sha256,
        size=1000,
        recipe=hash_value([SPEC.key, CONFIG]),
        verdict=ACCEPTED,
        reason="",
        layout="diffusers",
        num_slots=len(one.lora),
        rank_max=4,
        norm=1.0,
        dtype="float32",
        keys_used=len(one.lora),
        keys_seen=len(one.lora),
        set_aside=(),
    )


def _row(record: PooledRendering | Caption) -> dict[str, object]:
    return {name: getattr(record, name) for name in type(record).__slots__}


def _generator(*names: object) -> torch.Generator:
    return torch.Generator().manual_seed(int(hash_value(list(names))[:12], 16))


def text_tower(folder: Path, width: int = WIDTH) -> ClipTextEncoder:
    """Return a tiny random CLIP text tower whose tokens are letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=48)
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=48,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = CLIPTextModel(config).eval().requires_grad_(False)
    tokenizer.save_pretrained(folder / "tokenizer")
    model.save_pretrained(folder / "text_encoder")
    return ClipTextEncoder(model, tokenizer, (folder / "text_encoder", folder / "tokenizer"))


def write_dataset(root: Path, params: DatasetParams = DATASET) -> str:
    """Run the stage `dataset` and return its digest."""
    dataset.update_adapters(root, params)
    dataset.lock_training(root, params)
    dataset.update_renderings(root)
    dataset.update_captions(root)
    dataset.update_prompts(root)
    return dataset.finish(root)


def write_encoder(root: Path, text_encoder: ClipTextEncoder, params: EncoderParams = ENCODER) -> str:
    """Run the stage `encoder` and return its digest."""
    list(encoder.train(root, params, CONFIG, text_encoder, BOUNDS))
    return str(read_digest(root, "encoder")["sha256"])


def write_index(root: Path, batch: int = 4) -> dict[str, int]:
    """Run the stage `index` and return its counts."""
    plan = index.plan(root, batch)
    for part in plan.embed:
        index.embed(root, part, BOUNDS)
    index.update(root, plan.update)
    index.withdraw(root, plan.remove)
    index.finish(root)
    return plan.counts


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """Return each file below a folder with its time stamp and hash."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, hash_file(path)) for path in files}
