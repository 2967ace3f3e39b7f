"""A synthetic repository: catalog, pool and captions as the stages before `dataset` write them; a tiny text encoder.

Adapters are random low-rank updates that resemble those of the same theme.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from autolora.catalog import store as catalog
from autolora.dataset import stage as dataset
from autolora.encoder import stage as encoder
from autolora.index import stage as index
from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import SketchSpec, sketch
from autolora.lora.slots import slots
from autolora.models import ClipTextEncoder
from autolora.params import DatasetParams, EncoderParams, PoolParams, load
from autolora.pool import store as pool
from autolora.presets import Preset
from autolora.presets.encoder import ENCODER as SHIPPED_PRESETS
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_file, hash_value
from autolora.storage.incremental import read_digest
from autolora.text_encoder.sentences import SentenceEncoder
from studies.released.presets import ENCODER as RELEASED
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
DATASET = DatasetParams(
    train_until=DAY, test_share=0.34, validation_share=0.0, family_cosine=0.95, salt="tests"
)
BOUNDS = PoolParams(
    max_header_mb=1,
    max_rank=64,
    min_known_keys=1.0,
    max_image_mb=1,
    max_image_px=10_000,
    sketch_size=SPEC.size,
    near_duplicate_cosine=0.99,
)
PRESETS = {**SHIPPED_PRESETS, "released": RELEASED}
SETTINGS = replace(load(Path(__file__).parents[2] / "params.yaml"), pool=BOUNDS)
"""of searches: the shipped ones, with these bounds"""


def encoder_params(preset: Preset = "best", *, steps: int = 60, **overrides: object) -> EncoderParams:
    """Return params of a small encoder; `overrides` replace further fields of the preset's variant."""
    small = {
        "layers": 1, "heads": 4, "mlp_ratio": 2, "learning_rate": 0.002, "steps": steps, "batch": 8,
    }  # fmt: skip
    return EncoderParams(
        from_=None,
        from_revision=None,
        language="clip",
        language_revision=None,
        preset=preset,
        variant=replace(PRESETS[preset], **small | overrides),  # type: ignore[arg-type]
    )


ENCODER = encoder_params(model="transformer", text_map="center", hybrid=False, probes=2)
"""a transformer: its training has steps, a seed and a loss"""


@dataclass(frozen=True, slots=True)
class SyntheticAdapter:
    """A synthetic adapter: its LoRA, its listing and the captions of its renderings."""

    theme: str
    author: int
    lora: Lora
    listing: Listing
    captions: tuple[Caption, ...]

    @property
    def sha256(self) -> str:
        assert self.listing.sha256 is not None
        return self.listing.sha256


def make_lora(
    theme: str, author: int, rank: int = 2, theme_share: float = 0.6, skip: Sequence[str] = ()
) -> Lora:
    """Return a random LoRA: a rank-2 update of the theme, and an update of rank `rank` of the author.

    theme_share: scale of the theme's update; the author's is scaled by the rest. skip: parts of names of slots
    without an update.
    """
    lora = {}
    for slot in SLOTS:
        if any(part in slot.name for part in skip):
            continue
        author_rng = _generator(theme, author, slot.name)
        theme_rng = _generator(theme, slot.name)
        theme_down = theme_share * torch.randn(2, slot.d_in, generator=theme_rng)
        theme_up = torch.randn(slot.d_out, 2, generator=theme_rng)
        author_down = (1 - theme_share) * torch.randn(rank, slot.d_in, generator=author_rng)
        author_up = torch.randn(slot.d_out, rank, generator=author_rng)
        lora[slot.name] = Factors(
            down=torch.cat((theme_down, author_down)), up=torch.cat((theme_up, author_up), dim=1), scale=0.1
        )
    return lora


def make_adapter(
    theme: str, author: int, day: datetime.date = DAY, lora: Lora | None = None, **listing_fields: object
) -> SyntheticAdapter:
    """Return an adapter with two renderings and two captions of each; `listing_fields` replace those of its listing."""
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
    listing = replace(listing, **listing_fields)  # type: ignore[arg-type]
    captions = tuple(
        Caption(image=image, prompt=length * 8, vlm="v" * 64, length=length, text=words.format(theme, n))
        for n, image in enumerate(images)
        for length, words in (("short", "a {0} drawing"), ("long", "a drawing of thing {1} in the {0} style"))
    )
    return SyntheticAdapter(
        theme, author, make_lora(theme, author) if lora is None else lora, listing, captions
    )


def make_adapters(
    authors: Sequence[int] = (0, 1, 2), themes: Sequence[str] = THEMES, day: datetime.date = DAY
) -> list[SyntheticAdapter]:
    """Return one adapter per theme and author."""
    return [make_adapter(theme, author, day) for theme in themes for author in authors]


def write_repository(root: Path, adapters: Sequence[SyntheticAdapter]) -> None:
    """Write catalog, pool and captions of exactly these adapters."""
    write_tables(root, adapters)
    for adapter in adapters:
        pool.save_sketch(root, adapter.sha256, sketch(adapter.lora, SLOTS, SPEC))


def write_tables(root: Path, adapters: Sequence[SyntheticAdapter]) -> None:
    """Write catalog, pool and captions of exactly these adapters, but no sketches."""
    catalog.write(root, [adapter.listing for adapter in adapters])
    records = {adapter.listing.key: pool_row(adapter) for adapter in adapters}
    write_rows(root / "data/pool/adapters.jsonl", [records[key].to_row() for key in sorted(records)])
    images = sorted(
        {image.sha256 for adapter in adapters for image in adapter.listing.renderings if image.sha256}
    )
    renderings = [PooledRendering(key=key, sha256=key, width=64, height=64) for key in images]
    write_rows(root / "data/pool/renderings.jsonl", [_row(rendering) for rendering in renderings])
    captions = {(c.image, c.prompt, c.vlm): c for adapter in adapters for c in adapter.captions}
    write_rows(root / "data/captions/captions.jsonl", [_row(captions[key]) for key in sorted(captions)])


def write_weights(root: Path, adapters: Sequence[SyntheticAdapter]) -> None:
    """Write the adapters' files into the pool, for encoders that read weights."""
    for adapter in adapters:
        path = pool.weights_path(root, adapter.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, peft(adapter.lora))


def pool_row(adapter: SyntheticAdapter) -> Adapter:
    """Return the pool's row of an adapter that it has accepted."""
    return Adapter(
        key=adapter.listing.key,
        sha256=adapter.sha256,
        size=1000,
        recipe=hash_value([SPEC.key, CONFIG]),
        verdict=ACCEPTED,
        reason="",
        layout="diffusers",
        num_slots=len(adapter.lora),
        rank_max=4,
        norm=1.0,
        dtype="float32",
        keys_used=len(adapter.lora),
        keys_seen=len(adapter.lora),
        ignored_keys=(),
        warnings=("fp8",),
    )


def _row(record: PooledRendering | Caption) -> dict[str, object]:
    return {name: getattr(record, name) for name in type(record).__slots__}


def _generator(*names: object) -> torch.Generator:
    return torch.Generator().manual_seed(int(hash_value(list(names))[:12], 16))


def tiny_text_encoder(folder: Path, width: int = WIDTH) -> ClipTextEncoder:
    """Return a tiny random CLIP text encoder, saved in `folder`, whose tokens are letters and digits."""
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
    sync = dataset.open_sync(root, params)
    sync.update_adapters()
    sync.update_training_lock()
    sync.update_renderings()
    sync.update_captions()
    sync.update_prompts()
    return sync.finish()


def write_encoder(
    root: Path,
    text_encoder: ClipTextEncoder,
    params: EncoderParams = ENCODER,
    sentences: SentenceEncoder | None = None,
) -> str:
    """Run the stage `encoder` and return its digest. sentences: that of its language, if it is to learn one."""
    list(encoder.train(root, params, CONFIG, text_encoder, BOUNDS, sentences=sentences))
    return str(read_digest(root, "encoder")["sha256"])


def write_index(
    root: Path,
    batch: int = 4,
    text_encoder: ClipTextEncoder | None = None,
    sentences: SentenceEncoder | None = None,
) -> dict[str, int]:
    """Run the stage `index` and return its counts.

    text_encoder: needed if the encoder takes captions. sentences: that of encoder.language, if it names one.
    """
    load = (lambda: text_encoder) if text_encoder else no_text_encoder
    sync = index.open_sync(root, BOUNDS, load, lambda: sentences)
    plan = sync.plan(batch)
    for adapters in plan.embed:
        sync.embed(adapters)
    sync.update(plan.update)
    sync.remove(plan.remove)
    sync.finish()
    return plan.counts


def no_text_encoder() -> ClipTextEncoder:
    """Raise AssertionError: the encoder of these tests takes no captions."""
    raise AssertionError("the index needs a text encoder")


def file_states(folder: Path) -> dict[str, tuple[int, str]]:
    """Return path -> (modification time, hash) of each file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, hash_file(path)) for path in files}
