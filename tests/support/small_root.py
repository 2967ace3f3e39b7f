"""A repository after all stages before `evaluation`: real files, tables, encoder and gates, tiny and random."""

import datetime
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from autolora import models
from autolora.catalog import store as catalog
from autolora.dataset import stage as dataset
from autolora.encoder import stage as encoder
from autolora.encoder.model import TextEncoder
from autolora.fusion import store as fusion
from autolora.index import stage as index
from autolora.lora.sketch import SketchSpec, sketch
from autolora.lora.slots import slots
from autolora.params import DatasetParams, ModelsParams, Params, PoolParams, load
from autolora.pool import store as pool
from autolora.pool.recipe import ReadRecipe
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_file, hash_value
from autolora.text_encoder.sentences import SentenceEncoder
from tests.support.synthetic_repo import encoder_params
from tests.support.tiny_flux import CONFIG, random_lora, save_peft, save_pipeline
from tests.support.tiny_sentences import teach

REPOSITORY = Path(__file__).parents[2]
THEMES = ("cat", "rocket", "mosaic", "neon")
KINDS = {"cat": "object", "rocket": "object", "mosaic": "style", "neon": "style"}
DAY = datetime.date(2026, 1, 1)
SLOTS = slots(CONFIG)
SKETCH_SIZE = 8


def bounds() -> PoolParams:
    """Return the section `pool` with the size of the sketches here."""
    return replace(params().pool, sketch_size=SKETCH_SIZE)


def base(root: Path) -> ModelsParams:
    """Save a tiny pipeline in the root; return the section `models` that names it."""
    return ModelsParams(
        pipeline=str(save_pipeline(root / "flux")), pipeline_revision=None, vlm="", vlm_revision=None,
        device="cpu", dtype="float32", threads=1, memory=None,
    )  # fmt: skip


def params() -> Params:
    """Return the parameters of params.yaml."""
    return load(REPOSITORY / "params.yaml")


def build(root: Path, base: ModelsParams, authors: int = 3, nsfw: Collection[str] = ()) -> dict[str, str]:
    """Build everything up to index and gates; return adapter sha256 -> theme.

    The adapters of the last author are first seen after `train_until`. nsfw: ids of adapters that are marked so.
    """
    themes = {}
    listings, adapters, renderings, captions = [], [], [], []
    for author in range(authors):
        for theme in THEMES:
            late = author == authors - 1
            sha256 = write_adapter(root, THEMES.index(theme), author)
            themes[sha256] = theme
            images = [write_image(root, f"{theme} {author} {n}") for n in range(2)]
            renderings += [PooledRendering(key=i, sha256=i, width=32, height=32) for i in images]
            captions += [caption for image in images for caption in make_captions(image, theme)]
            name = f"author{author}/{theme}"
            listings.append(make_listing(sha256, name, images, late, name in nsfw))
            adapters.append(make_adapter(listings[-1].key, sha256))
    adapters.sort(key=lambda adapter: adapter.key)
    renderings.sort(key=lambda rendering: rendering.key)
    catalog.write(root, listings)
    write_rows(root / "data/pool/adapters.jsonl", map(asdict, adapters))
    write_rows(root / "data/pool/renderings.jsonl", map(asdict, renderings))
    write_rows(root / "data/captions/captions.jsonl", map(asdict, captions))
    build_models(root, base)
    return themes


def build_models(root: Path, base: ModelsParams) -> None:
    """Build dataset, encoder, index and gates; the encoder is trained for 2 steps, the gates are not trained."""
    build_dataset(root)
    short = encoder_params(steps=2, probes=1)
    text_encoder = models.load_text_encoder(base)
    list(encoder.train(root, short, models.transformer_config(base), text_encoder, params().pool))
    build_index(root, base, text_encoder)
    torch.manual_seed(0)
    gates = fusion.build(CONFIG, params().fusion.variant)
    fusion.save(gates, SLOTS, fusion.folder(root))
    fusion.write_fusion_digest(root, gates, {})


def build_dataset(root: Path) -> None:
    """Run the stage `dataset`."""
    values = DatasetParams(
        train_until=DAY, test_share=0.4, validation_share=0.0, family_cosine=0.95, salt="tests"
    )
    sync = dataset.open_sync(root, values)
    sync.update_adapters()
    sync.update_training_lock()
    sync.update_renderings()
    sync.update_captions()
    sync.update_prompts()
    sync.finish()


def build_index(
    root: Path, base: ModelsParams, text_encoder: TextEncoder, sentences: SentenceEncoder | None = None
) -> None:
    """Run the stage `index`. sentences: that of encoder.language, if it names one."""
    sync = index.open_sync(root, params().pool, lambda: text_encoder, lambda: sentences)
    work = sync.plan()
    for batch in work.embed:
        sync.embed(batch)
    sync.update(work.update)
    sync.save_tokenizer(base)
    sync.finish()


def teach_sentences(root: Path, base: ModelsParams, sentences: SentenceEncoder | None) -> None:
    """Give the project a plain language of these sentences, and an index that has it."""
    teach(root, sentences)
    build_index(root, base, models.load_text_encoder(base), sentences)


def write_adapter(root: Path, theme: int, author: int) -> str:
    """Write the weights and the sketch of a random adapter; return its sha256."""
    lora = random_lora(10 * theme + author, rank=2)
    file = save_peft(lora, root / "new.safetensors")
    sha256 = hash_file(file)
    path = pool.weights_path(root, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.rename(path)
    pool.save_sketch(root, sha256, sketch(lora, SLOTS, SketchSpec(size=SKETCH_SIZE)))
    return sha256


def write_image(root: Path, name: str) -> str:
    """Write a random image of 32 px into the pool under the hash of `name`; return that hash."""
    sha256 = hash_value(name)
    path = pool.rendering_path(root, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(sha256[:8], 16)).integers(0, 255, (32, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")
    return sha256


def make_captions(image: str, theme: str) -> list[Caption]:
    texts = {"short": f"a {theme}", "long": f"a picture that shows {theme} things number {image[:1]}"}
    return [Caption(image=image, prompt=n, vlm="v", length=n, text=text) for n, text in texts.items()]


def make_listing(sha256: str, name: str, images: Sequence[str], late: bool, nsfw: bool = False) -> Listing:
    return Listing(
        hub="huggingface", id=name, version="a" * 40, file="lora.safetensors", url=f"http://127.0.0.1/{name}",
        size=1, sha256=sha256, license="mit", base_model=None, nsfw=nsfw, trigger_words=(f"zq{name[6:8]}",),
        renderings=tuple(ListedRendering(url=f"http://127.0.0.1/{i}", sha256=i, prompt=None) for i in images),
        first_seen=DAY + datetime.timedelta(days=int(late)),
    )  # fmt: skip


def make_adapter(key: str, sha256: str) -> Adapter:
    recipe = ReadRecipe.for_base_model(CONFIG, bounds()).digest
    return Adapter(
        key=key, sha256=sha256, size=1, recipe=recipe, verdict=ACCEPTED, reason="", layout="peft", num_slots=len(SLOTS),
        rank_max=2, norm=1.0, dtype="float32", keys_used=1, keys_seen=1, ignored_keys=(),
    )  # fmt: skip
