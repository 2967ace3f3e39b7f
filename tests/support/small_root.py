"""A root as the stages before `evaluation` leave it: real files, tables, encoder and gates, all tiny and random."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from autolora import models
from autolora.dataset import stage as dataset
from autolora.encoder import stage as encoder
from autolora.fusion import store as fusion
from autolora.fusion.stage import spec
from autolora.index import stage as index
from autolora.lora.sketch import SketchSpec, sketch
from autolora.params import DatasetParams, ModelsParams, Params, load
from autolora.pool import store as pool
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.slots import slots
from autolora.storage.files import hash_file, hash_value, sharded, write_rows
from autolora.storage.incremental import write_digest
from tests.support.synthetic_repo import ENCODER
from tests.support.tiny_flux import CONFIG, random_lora, save_peft, save_pipeline

REPOSITORY = Path(__file__).parents[2]
THEMES = ("cat", "rocket", "mosaic", "neon")
KINDS = {"cat": "object", "rocket": "object", "mosaic": "style", "neon": "style"}
DAY = datetime.date(2026, 1, 1)
SLOTS = slots(CONFIG)


def base(root: Path) -> ModelsParams:
    """Return models that are there: a tiny pipeline in the root."""
    return ModelsParams(
        pipeline=str(save_pipeline(root / "flux")), pipeline_revision=None, vlm="", vlm_revision=None,
        device="cpu", dtype="float32", threads=1,
    )  # fmt: skip


def params() -> Params:
    """Return the repository's params."""
    return load(REPOSITORY / "params.yaml")


def build(root: Path, base: ModelsParams, authors: int = 3) -> dict[str, str]:
    """Build everything up to index and gates; return adapter sha256 -> theme. The last author is a newcomer."""
    themes = {}
    listings, adapters, pictures, captions = [], [], [], []
    for author in range(authors):
        for theme in THEMES:
            late = author == authors - 1
            sha256 = write_adapter(root, THEMES.index(theme), author)
            themes[sha256] = theme
            images = [write_picture(root, f"{theme} {author} {n}") for n in range(2)]
            pictures += [PooledRendering(key=one, sha256=one, width=32, height=32) for one in images]
            captions += [said for one in images for said in caption(one, theme)]
            listings.append(list_adapter(sha256, f"author{author}/{theme}", images, late))
            adapters.append(pooled(listings[-1].key, sha256))
    write_rows(
        root / "data/catalog.jsonl", [one.to_row() for one in sorted(listings, key=lambda one: one.id)]
    )
    write_rows(
        root / "data/pool/adapters.jsonl", [asdict(one) for one in sorted(adapters, key=lambda a: a.key)]
    )
    write_rows(
        root / "data/pool/renderings.jsonl", [asdict(one) for one in sorted(pictures, key=lambda p: p.key)]
    )
    write_rows(root / "data/captions/captions.jsonl", [asdict(one) for one in captions])
    learn(root, base)
    return themes


def learn(root: Path, base: ModelsParams) -> None:
    """Make dataset, encoder, index and gates; encoder and gates are drawn, not trained."""
    values = DatasetParams(train_until=DAY, test_share=0.4, family_cosine=0.95, salt="tests")
    dataset.update_adapters(root, values)
    dataset.lock_training(root, values)
    dataset.update_renderings(root)
    dataset.update_captions(root)
    dataset.update_prompts(root)
    dataset.finish(root)
    few = replace(ENCODER, steps=2, probes=1)
    text_encoder = models.load_text_encoder(base)
    list(encoder.train(root, few, models.transformer_config(base), text_encoder, params().pool))
    for batch in index.plan(root, 64).embed:
        index.embed(root, batch, params().pool)
    index.finish(root)
    torch.manual_seed(0)
    gates = fusion.build(SLOTS, spec(params().fusion))
    fusion.save(gates, SLOTS, fusion.folder(root))
    write_digest(root, "fusion", fusion.rows(gates), fusion.SCHEMA)


def write_adapter(root: Path, theme: int, author: int) -> str:
    """Write the weights and the sketch of a random adapter; return its sha256."""
    lora = random_lora(10 * theme + author, rank=2)
    file = save_peft(lora, root / "new.safetensors")
    sha256 = hash_file(file)
    place = sharded(root / "data/pool/weights", sha256, ".safetensors")
    place.parent.mkdir(parents=True, exist_ok=True)
    file.rename(place)
    pool.save_sketch(root, sha256, sketch(lora, SLOTS, SketchSpec(size=8)))
    return sha256


def write_picture(root: Path, name: str) -> str:
    """Write a random picture of 32 px; return the sha256 that it is known by."""
    sha256 = hash_value(name)
    path = pool.rendering_path(root, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(sha256[:8], 16)).integers(0, 255, (32, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")
    return sha256


def caption(image: str, theme: str) -> list[Caption]:
    texts = {"short": f"a {theme}", "long": f"a picture that shows {theme} things number {image[:1]}"}
    return [Caption(image=image, prompt=n, vlm="v", length=n, text=text) for n, text in texts.items()]


def list_adapter(sha256: str, name: str, images: Sequence[str], late: bool) -> Listing:
    return Listing(
        hub="huggingface", id=name, version="a" * 40, file="lora.safetensors", url=f"http://127.0.0.1/{name}",
        size=1, sha256=sha256, license="mit", base_model=None, nsfw=False, trigger_words=(f"zq{name[6:8]}",),
        renderings=tuple(ListedRendering(url=f"http://127.0.0.1/{one}", sha256=one, prompt=None) for one in images),
        first_seen=DAY + datetime.timedelta(days=int(late)),
    )  # fmt: skip


def pooled(key: str, sha256: str) -> Adapter:
    return Adapter(
        key=key, sha256=sha256, size=1, recipe="r", verdict=ACCEPTED, reason="", layout="peft", num_slots=len(SLOTS),
        rank_max=2, norm=1.0, dtype="float32", keys_used=1, keys_seen=1, set_aside=(),
    )  # fmt: skip
