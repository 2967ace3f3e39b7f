"""The world draws everything it names, captions it truthfully, and repeats itself by seed."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from playground import text, world

LOOKS = (world.PLAIN, *world.LOOKS)


def test_the_world_is_as_large_as_claimed() -> None:
    assert [len(names) for names in world.FIELDS.values()] == [24, 8, 10, 23]
    assert len(world.STYLES) == 18 and len(world.BASE_OBJECTS) == 12 and len(world.BACKGROUNDS) == 6
    for names in world.FIELDS.values():
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("style", LOOKS)
def test_every_object_draws_in_every_style(style: str) -> None:
    for name in world.OBJECTS:
        image = world.draw(world.Scene(name, "red", "grass field", style), np.random.default_rng(0))
        assert image.size == (world.SIZE, world.SIZE)
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 10


def test_the_same_seed_draws_the_same_picture() -> None:
    for style in LOOKS:
        scene = world.Scene("boat", "blue", "night sky", style)
        first, second, other = (
            np.asarray(world.draw(scene, np.random.default_rng(seed))) for seed in (4, 4, 5)
        )
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)


def test_styles_look_different_from_each_other() -> None:
    scenes = [world.Scene("house", "green", "white", style) for style in LOOKS]
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
        for style in world.LOOKS:
            assert (style in words) == (style == scene.style)


def test_objects_and_backgrounds_look_different_from_each_other() -> None:
    scenes = [world.Scene(name, "green", "white") for name in world.OBJECTS]
    scenes += [world.Scene("ball", "green", name) for name in world.FIELDS["background"][1:]]
    images = [np.asarray(world.draw(s, np.random.default_rng(1)), float) for s in scenes]
    for one, two in itertools.combinations(images, 2):
        assert np.abs(one - two).mean() > 5


def told(words: str) -> dict[str, set[str]]:
    """Return the values that a text names, by field."""
    return {
        field: {value for value in values if value != world.PLAIN and re.search(rf"\b{value}\b", words)}
        for field, values in world.FIELDS.items()
    }


@pytest.mark.parametrize("true", [True, False])
def test_a_true_claim_holds_and_an_untrue_one_is_wrong_in_one_thing(true: bool) -> None:
    rng = np.random.default_rng(6)
    for _ in range(400):
        scene = world.sample_scene(rng)
        words = world.claim(scene, rng, true=true)
        named = told(words)
        assert any(named.values()), words
        wrong = [field for field, values in named.items() if values - {getattr(scene, field)}]
        assert len(wrong) == (0 if true else 1), (scene, words)


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
