"""playground/encoder: a published encoder of at most 7.5 MB that finds the playground's adapters by their weights."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora import models
from autolora.encoder.model import embed_texts
from autolora.index.embedding import embed
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import SketchSpec
from autolora.matching.caption_rule import directions
from autolora.models import ClipTextEncoder
from autolora.params import load
from autolora.publication.encoder import PublishedEncoder, load_published
from playground.pool import POOL

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "playground/encoder"
PARAMS = load(ROOT / "params.yaml")
MAX_BYTES = 7_500_000


@pytest.fixture(scope="module")
def published() -> PublishedEncoder:
    return load_published(FOLDER)


@pytest.fixture(scope="module")
def text_encoder(published: PublishedEncoder) -> ClipTextEncoder:
    """Return the text encoder in the folder; the base pipeline is not read."""
    return models.load_text_encoder(replace(PARAMS.models, pipeline=str(published.pipeline), threads=1))


@pytest.fixture(scope="module")
def index(published: PublishedEncoder) -> tuple[list[str], torch.Tensor]:
    """Return the themes of all adapters of the pool, and their vectors (N, d)."""
    themes = json.loads((ROOT / "playground/themes.json").read_text())
    config = published.encoder.config
    assert config.sketch_size is not None
    spec, found, batches = SketchSpec(config.sketch_size), [], []
    for path in sorted(POOL.glob("*/*/*.safetensors")):
        if judgment := themes.get(hashlib.sha256(path.read_bytes()).hexdigest()):
            _, sketch = read_and_sketch(path, config.canonical, PARAMS.pool, spec)
            batches.append(config.sketch_to_batch(sketch))
            found.append(judgment["theme"])
    vectors = embed(published.encoder, iter(batches), torch.device("cpu"))
    return found, torch.from_numpy(directions(vectors.astype("float64")))


def test_folder_is_small_and_fits_the_playground(
    published: PublishedEncoder, text_encoder: ClipTextEncoder
) -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= MAX_BYTES
    published.check_fits(
        models.transformer_config(PARAMS.models),
        models.load_text_encoder(PARAMS.models).digest,
        PARAMS.pool.sketch_size,
    )
    assert text_encoder.digest == published.encoder.config.text_encoder
    assert published.language is not None


def test_prompts_find_adapters_of_their_themes(
    published: PublishedEncoder, text_encoder: ClipTextEncoder, index: tuple[list[str], torch.Tensor]
) -> None:
    themes, vectors = index
    assert len(themes) > 80

    def first_themes(prompts: list[str]) -> list[str]:
        wanted = torch.from_numpy(embed_texts(published.encoder, text_encoder, prompts))
        return [themes[row] for row in (wanted @ vectors.T).argmax(1).tolist()]

    assert first_themes(["a cat in mosaic style"])[0] in ("cat", "mosaic")
    names = sorted(set(themes))
    found = first_themes([f"a drawing, {name}" for name in names])
    right = sum(theme == name for theme, name in zip(found, names, strict=True))
    assert right >= 0.7 * len(names), f"{right} of {len(names)}"


def test_tags_name_the_themes_of_files(
    published: PublishedEncoder, index: tuple[list[str], torch.Tensor]
) -> None:
    themes, vectors = index
    assert published.tags is not None
    found = [[tag.text for tag in tags if tag.is_likely] for tags in published.tags.tags(vectors.numpy())]
    named = [
        theme in likely for theme, likely in zip(themes, found, strict=True) if theme in published.tags.texts
    ]
    assert len(named) > 60 and sum(named) >= 0.75 * len(named)
    assert sum(named) >= 0.7 * sum(map(len, found))  # most of what is said is right


def test_card_lists_what_it_was_trained_on(published: PublishedEncoder) -> None:
    training = published.training
    assert training.adapters == sum(training.licenses.values()) > 40
    card = (FOLDER / "README.md").read_text()
    assert f"{training.adapters} adapters" in card and "95 % interval" in card
    assert str(ROOT.parent) not in card
