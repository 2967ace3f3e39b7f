"""What an encoder says about files: tags, neighbors and whether a name fits. The text encoder is the playground's."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import embed_texts
from autolora.encoder.ridge import RidgeEncoder, slot_units
from autolora.encoder.tags import TagTable
from autolora.inspection.description import CAPTIONED_ADAPTERS, ENOUGH, Describer, Description
from autolora.inspection.neighbors import Neighbor
from autolora.lora.factors import Lora
from autolora.lora.sketch import Sketch, SketchSpec, sketch
from autolora.params import load
from autolora.presets.encoder import ENCODER
from autolora.storage.arrays import Float64Array
from autolora.text_encoder.clip import NumpyTextEncoder, load_numpy_text_encoder
from tests.lora.writing import CONFIG, SLOTS, draw_lora

ROOT = Path(__file__).parents[2]
SPEC = SketchSpec(8)
CONCEPTS = ("cat", "mosaic", "snow", "clock")
"""of the LoRAs that the encoder is trained on, by seed"""


class Index:
    """Stands for the adapters of an index: one per concept, with captions."""

    def nearest(self, vector: Float64Array, k: int) -> list[Neighbor]:
        """Return all adapters by cosine."""
        encoder, text_encoder = trained()
        cosines = embed_texts(encoder, text_encoder, CONCEPTS) @ vector
        order = np.argsort(-cosines)[:k]
        return [
            Neighbor(name=CONCEPTS[i], sha256=f"sha of {CONCEPTS[i]}", cosine=float(cosines[i]))
            for i in order
        ]

    def captions(self, adapters: list[str]) -> list[str]:
        """Return a caption per adapter."""
        return [f"a drawing of a {adapter.split()[-1]}" for adapter in adapters]


@cache
def trained() -> tuple[RidgeEncoder, NumpyTextEncoder]:
    """Return an encoder whose prediction for the LoRA of each seed is exactly the vector of its concept."""
    text_encoder = load_numpy_text_encoder(ROOT, load(ROOT / "params.yaml").models)
    config = EncoderConfig(
        transformer=CONFIG, variant=ENCODER["best"], width=text_encoder.width, sketch_size=SPEC.size,
        sketch_key=SPEC.key, text_encoder=text_encoder.digest,
    )  # fmt: skip
    encoder = RidgeEncoder(config)
    encoder.text_map.center = torch.from_numpy(text_encoder.encode([*CONCEPTS, "house"])).mean(0)
    targets = torch.from_numpy(embed_texts(encoder, text_encoder, CONCEPTS)).float()
    values = torch.stack([sketched(draw_lora(seed)).values for seed in range(len(CONCEPTS))])
    encoder.weights = torch.linalg.pinv(slot_units(values)) @ targets
    return encoder, text_encoder


def sketched(lora: Lora) -> Sketch:
    return sketch(lora, SLOTS, SPEC)


def describe(
    seed: int,
    index: Index | None = None,
    tags: TagTable | None = None,
    **texts: str,
) -> Description:
    describer = Describer(*trained(), index, tags)  # type: ignore[arg-type]  # stands for Neighbors
    lora = draw_lora(seed)
    return describer.describe(lora, sketched(lora), f"sha of {CONCEPTS[seed]}", texts)


def test_captions_are_those_of_the_nearest_adapters() -> None:
    assert describe(1, index=Index()).captions[0].text == "a drawing of a mosaic"


def test_tags_are_those_of_the_encoder_if_it_has_some() -> None:
    encoder, text_encoder = trained()
    vectors = embed_texts(encoder, text_encoder, CONCEPTS).astype(np.float32)
    tags = TagTable(CONCEPTS, vectors, np.array([10.0, -5.0]))
    description = describe(1, tags=tags)
    assert description.tags[0].text == "mosaic" and description.tags[0].probability == pytest.approx(
        0.993, abs=1e-3
    )
    assert describe(1).tags == ()


def test_file_itself_is_not_among_its_nearest_adapters() -> None:
    description = describe(2, index=Index())
    assert [neighbor.name for neighbor in description.adapters] != [] and "snow" not in {
        neighbor.name for neighbor in description.adapters
    }
    assert len(description.adapters) < CAPTIONED_ADAPTERS


def test_right_name_agrees_and_a_wrong_one_does_not() -> None:
    right, wrong = describe(0, name="cat", title="mosaic").checks
    assert right.agrees and right.expected <= ENOUGH and right.verdict.startswith("name “cat” agrees")
    assert not wrong.agrees and wrong.verdict.startswith("title “mosaic” disagrees with the weights (cosine ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("snowyCat_v2", ["cat"]),
        ("my-mosaic-style-lora-final", ["mosaic"]),
        ("zqxw_flux_dev-000010", []),
        ("Cat and CLOCK", ["cat", "clock"]),
        ("", []),
        ("猫", []),
    ],
)
def test_known_words_of_a_name(name: str, words: list[str]) -> None:
    assert Describer(*trained(), None, None).known_words(name) == words
