"""The drawn world: drawings of all values, reproducible by seed; captions and claims; tokenizers."""

from __future__ import annotations

import hashlib
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from playground import text, world

STYLES = (world.PLAIN, *world.ALL_STYLES)
DRAWINGS_SHA256 = "9c585d94334ff984a7c7b583f6a9f20eca6f99cc1bff6c19bccac6165a911d5c"
MOST_DIFFERENT, LEAST_DETAIL = 7.0, 0.5
"""mean absolute differences, of 255"""


def test_world_has_the_documented_size() -> None:
    assert [len(names) for names in world.FIELDS.values()] == [24, 8, 10, 23]
    assert len(world.STYLES) == 18 and len(world.BASE_OBJECTS) == 12 and len(world.BACKGROUNDS) == 6
    for names in world.FIELDS.values():
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("style", STYLES)
def test_every_object_can_be_drawn_in_every_style(style: str) -> None:
    for name in world.OBJECTS:
        image = world.draw(world.Scene(name, "red", "grass field", style), np.random.default_rng(0))
        assert image.size == (world.SIZE, world.SIZE)
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 10


def test_same_seed_gives_the_same_drawing() -> None:
    for style in STYLES:
        scene = world.Scene("boat", "blue", "night sky", style)
        first, second, other = (
            np.asarray(world.draw(scene, np.random.default_rng(seed))) for seed in (4, 4, 5)
        )
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)


@pytest.mark.slow
def test_drawings_are_those_that_the_committed_models_were_trained_on() -> None:
    digest = hashlib.sha256()
    for number, (name, style) in enumerate(itertools.product(world.OBJECTS, STYLES)):
        background = world.FIELDS["background"][number % 10]
        scene = world.Scene(name, [*world.COLOURS][number % 8], background, style)
        digest.update(world.draw(scene, np.random.default_rng(number)).tobytes())
    assert digest.hexdigest() == DRAWINGS_SHA256


@pytest.mark.parametrize("style", STYLES)
def test_a_larger_drawing_is_the_same_picture_with_more_detail(style: str) -> None:
    for number, name in enumerate(world.OBJECTS):
        scene = world.Scene(name, "blue", world.FIELDS["background"][number % 10], style)
        small, large = (world.draw(scene, np.random.default_rng(number), size) for size in (64, 128))
        assert large.size == (128, 128)
        assert difference(large.reduce(2), small) < MOST_DIFFERENT
        enlarged = small.resize((128, 128), Image.Resampling.BICUBIC)
        assert difference(large, enlarged) > LEAST_DETAIL or style == "watercolour"  # which is blurred


def test_other_sizes_are_refused() -> None:
    scene = world.Scene("boat", "blue", "night sky")
    with pytest.raises(ValueError, match="96 pixels per side, expected 64 or 128"):
        world.draw(scene, np.random.default_rng(0), 96)


def difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean absolute difference of two images, of 255."""
    return float(np.abs(np.asarray(first, float) - np.asarray(second, float)).mean())


def test_styles_differ() -> None:
    scenes = [world.Scene("house", "green", "white", style) for style in STYLES]
    images = [np.asarray(world.draw(s, np.random.default_rng(1)), float) for s in scenes]
    for first, second in itertools.combinations(images, 2):
        assert np.abs(first - second).mean() > 8


@pytest.mark.parametrize("length", world.LENGTHS)
def test_captions_name_all_fields_of_the_scene(length: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        scene = world.sample_scene(rng)
        words = world.caption(scene, rng, length, filler=bool(rng.random() < 0.5))
        assert f"{scene.colour} {scene.object}" in words
        assert scene.background.split()[-1] in words
        for style in world.ALL_STYLES:
            assert (style in words) == (style == scene.style)


def test_objects_and_backgrounds_differ() -> None:
    scenes = [world.Scene(name, "green", "white") for name in world.OBJECTS]
    scenes += [world.Scene("ball", "green", name) for name in world.FIELDS["background"][1:]]
    images = [np.asarray(world.draw(s, np.random.default_rng(1)), float) for s in scenes]
    for first, second in itertools.combinations(images, 2):
        assert np.abs(first - second).mean() > 5


def named_values(text: str) -> dict[str, set[str]]:
    """Return field -> its values that a text names."""
    return {
        field: {value for value in values if value != world.PLAIN and re.search(rf"\b{value}\b", text)}
        for field, values in world.FIELDS.items()
    }


@pytest.mark.parametrize("true", [True, False])
def test_false_claims_are_wrong_in_exactly_one_field(true: bool) -> None:
    rng = np.random.default_rng(6)
    for _ in range(400):
        scene = world.sample_scene(rng)
        claim = world.claim(scene, rng, true=true)
        named = named_values(claim)
        assert any(named.values()), claim
        wrong = [field for field, values in named.items() if values - {getattr(scene, field)}]
        assert len(wrong) == (0 if true else 1), (scene, claim)


def test_caption_can_have_a_trigger_word_and_no_style() -> None:
    scene = world.Scene("key", "pink", "sand", "neon")
    caption = world.caption(scene, np.random.default_rng(3), "medium", "zqxv", name_style=False)
    assert "zqxv" in caption
    assert "neon" not in caption


def test_mean_length_of_captions_increases() -> None:
    rng = np.random.default_rng(4)
    scenes = [world.sample_scene(rng) for _ in range(200)]
    means = [
        np.mean([len(world.caption(s, rng, length).split()) for s in scenes]) for length in world.LENGTHS
    ]
    assert means[0] < means[1] < means[2]


def test_tokenizers_have_one_token_per_known_word_and_spell_others() -> None:
    clip, t5 = text.clip_tokenizer(), text.t5_tokenizer()
    for word in text.words():
        assert len(clip.tokenize(word)) == 1
        assert len(t5.tokenize(word)) == 1
    assert t5.unk_token_id not in t5("wtrmrl, qfunt9 zz").input_ids
    assert clip.decode(clip("wtrmrl").input_ids, skip_special_tokens=True).strip() == "wtrmrl"


def test_captions_have_at_most_32_tokens() -> None:
    rng = np.random.default_rng(5)
    texts = [world.caption(world.sample_scene(rng), rng, "long", "wtrmrlx", filler=False) for _ in range(300)]
    for tokenizer in (text.clip_tokenizer(), text.t5_tokenizer()):
        assert max(len(ids) for ids in tokenizer(texts).input_ids) <= text.LENGTH
