"""The world draws everything it names, captions it truthfully, and repeats itself by seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from playground import text, world

STYLES = (world.PLAIN, *world.STYLES)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", world.OBJECTS)
def test_every_object_draws_in_every_style(name: str, style: str) -> None:
    scene = world.Scene(name, "red", "grass field", style)
    image = world.draw(scene, np.random.default_rng(0))
    assert image.size == (world.SIZE, world.SIZE)
    assert image.mode == "RGB"
    assert np.asarray(image).std() > 10


def test_the_same_seed_draws_the_same_picture() -> None:
    for style in STYLES:
        scene = world.Scene("boat", "blue", "night sky", style)
        first, second, other = (
            np.asarray(world.draw(scene, np.random.default_rng(seed))) for seed in (4, 4, 5)
        )
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)


def test_styles_look_different_from_each_other() -> None:
    scenes = [world.Scene("house", "green", "white", style) for style in STYLES]
    images = [np.asarray(world.draw(s, np.random.default_rng(1)), float) for s in scenes]
    for one, two in itertools.combinations(images, 2):
        assert np.abs(one - two).mean() > 8


@pytest.mark.parametrize("length", world.LENGTHS)
def test_captions_name_what_the_drawing_shows(length: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        scene = world.sample_scene(rng)
        words = world.caption(scene, rng, length, filler=bool(rng.random() < 0.5))
        assert f"{scene.colour} {scene.object}" in words
        assert scene.background.split()[-1] in words
        for style in world.STYLES:
            assert (style in words) == (style == scene.style)


def test_a_trigger_word_joins_and_the_style_name_can_stay_out() -> None:
    scene = world.Scene("key", "pink", "sand", "neon")
    words = world.caption(scene, np.random.default_rng(3), "medium", "zqxv", name_style=False)
    assert "zqxv" in words
    assert "neon" not in words


def test_longer_captions_are_longer() -> None:
    rng = np.random.default_rng(4)
    scenes = [world.sample_scene(rng) for _ in range(200)]
    means = [
        np.mean([len(world.caption(s, rng, length).split()) for s in scenes]) for length in world.LENGTHS
    ]
    assert means[0] < means[1] < means[2]


def test_tokenizers_know_the_world_and_spell_the_rest() -> None:
    clip, t5 = text.clip_tokenizer(), text.t5_tokenizer()
    for word in text.words():
        assert len(clip.tokenize(word)) == 1
        assert len(t5.tokenize(word)) == 1
    assert t5.unk_token_id not in t5("wtrmrl, qfunt9 zz").input_ids
    assert clip.decode(clip("wtrmrl").input_ids, skip_special_tokens=True).strip() == "wtrmrl"


def test_captions_fit_into_32_tokens() -> None:
    rng = np.random.default_rng(5)
    texts = [world.caption(world.sample_scene(rng), rng, "long", "wtrmrlx", filler=False) for _ in range(300)]
    for tokenizer in (text.clip_tokenizer(), text.t5_tokenizer()):
        assert max(len(ids) for ids in tokenizer(texts).input_ids) <= text.LENGTH
