"""The check of trigger words: what counts as an effect, and that it is drawn once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolora.generation.images import Generator
from autolora.generation.trigger_words import (
    MIN_RATIO,
    NUM_CONTROLS,
    PROMPT,
    SEEDS,
    check_trigger_words,
    compare,
    meaningless_words,
)
from autolora.params import GenerationParams, ModelsParams, load
from autolora.pool.store import weights_path
from autolora.storage.hashes import hash_file
from tests.support.rule_params import RULES
from tests.support.tiny_flux import TOKENS, random_lora, save_peft, save_pipeline

REPOSITORY = Path(__file__).parents[2]
PARAMS = GenerationParams(
    width=32, height=32, steps=2, guidance=3.5, max_sequence_length=TOKENS, trigger_words=True, method="direct",
    rules=RULES, text_encoders=False,
    batch=8,
)  # fmt: skip


def gray(value: float) -> Image.Image:
    return Image.fromarray(np.full((4, 4, 3), round(255 * value), dtype=np.uint8))


@pytest.mark.parametrize(("change", "has_effect"), [(0.4, True), (0.12, False)])
def test_effect_is_a_larger_change_than_by_meaningless_words(change: float, has_effect: bool) -> None:
    drawn: list[str] = []

    def draw(prompts: Sequence[str]) -> list[Image.Image]:
        drawn.extend(prompts)
        values = [
            0.2 if text == PROMPT else 0.2 + change if text == f"{PROMPT}, zyx" else 0.3 for text in prompts
        ]
        return [gray(value) for value in values for _ in SEEDS]

    check = compare("zyx", draw)
    assert drawn == [PROMPT, f"{PROMPT}, zyx", *(f"{PROMPT}, {word}" for word in meaningless_words("zyx"))]
    assert check.change == pytest.approx(change, abs=0.004)
    assert check.control == pytest.approx(0.1, abs=0.004)
    assert check.has_effect == has_effect == (change >= MIN_RATIO * 0.1)


def test_meaningless_words_are_as_long_as_the_word_and_always_the_same() -> None:
    words = meaningless_words("pytu0")
    assert words == meaningless_words("pytu0") != meaningless_words("oatcn")
    assert {len(word) for word in words} == {5} and len({*words, "pytu0"}) == NUM_CONTROLS + 1


@pytest.mark.slow
def test_images_are_drawn_once_with_the_adapter(tmp_path: Path) -> None:
    pipeline = str(save_pipeline(tmp_path / "flux"))
    base = ModelsParams(
        pipeline=pipeline, pipeline_revision=None, vlm="", vlm_revision=None, device="cpu", dtype="float32",
        threads=1,
    )  # fmt: skip
    adapters = []
    for seed in (1, 2):
        file = save_peft(random_lora(seed), tmp_path / f"{seed}.safetensors")
        path = weights_path(tmp_path, hash_file(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        file.rename(path)
        adapters.append(path.stem)
    loaded: list[str] = []

    def generator() -> Generator:
        loaded.append("generator")
        return Generator(tmp_path, base, load(REPOSITORY / "params.yaml").pool)

    def check(adapter: str, params: GenerationParams = PARAMS) -> object:
        return check_trigger_words(tmp_path, generator, adapter, ["zzz"], params, (pipeline, None))

    first = check(adapters[0])
    assert check(adapters[0]) == first and len(loaded) == 1
    (tmp_path / "cache" / "trigger_words" / f"{adapters[0]}.json").write_text("")  # damaged
    assert check(adapters[0]) == first and len(loaded) == 2
    assert check(adapters[1]) != first and len(loaded) == 3  # another adapter draws other images
    assert check(adapters[0], replace(PARAMS, steps=3)) != first and len(loaded) == 4
