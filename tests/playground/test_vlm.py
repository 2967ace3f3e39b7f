"""The tiny VLM: its processor, its lessons, and what it says of fresh drawings."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from playground import drawings, lessons, questions, states, vlm, world

TINY = vlm.Recipe(
    Path("nowhere"), 64, layers=1, drawings=8, looking=2, telling=6, questioned=4, answering=4, seed=0
)


@pytest.fixture(scope="module")
def read() -> vlm.Qwen2_5_VLProcessor:
    return vlm.processor()


def draw(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [world.draw(world.sample_scene(rng), rng) for _ in range(count)]


def test_lessons_see_what_the_processor_shows(read: vlm.Qwen2_5_VLProcessor) -> None:
    images = draw(6)
    shown = read.image_processor(images, return_tensors="pt")
    pixels = torch.stack([drawings.to_tensor(image) for image in images])
    torch.testing.assert_close(
        lessons.patches(lessons.enlarge(pixels)), shown.pixel_values, atol=1e-5, rtol=0
    )
    assert shown.image_grid_thw.tolist() == [[1, lessons.GRID, lessons.GRID]] * 6


@pytest.mark.parametrize("side", [48, 64, 84, 100, 256, 512, 1024])
def test_every_square_becomes_84_pixels(read: vlm.Qwen2_5_VLProcessor, side: int) -> None:
    shown = read.image_processor(Image.new("RGB", (side, side)), return_tensors="pt")
    assert shown.image_grid_thw.tolist() == [[1, 6, 6]]


def test_lessons_ask_what_the_processor_asks(read: vlm.Qwen2_5_VLProcessor) -> None:
    (image,) = draw(1)
    for instruction in vlm.instructions().values():
        content = [{"type": "image"}, {"type": "text", "text": instruction}]
        text = read.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        assert read(text=[text], images=[image]).input_ids[0] == lessons.prompt_ids(read, instruction)


def test_answers_are_what_is_told_and_end(read: vlm.Qwen2_5_VLProcessor) -> None:
    lesson = lessons.lessons(3, read, vlm.instructions(), vlm.question(), seed=0)
    assert lesson.ids.shape[:2] == (3, 10)
    for ids, told, fields in zip(lesson.ids, lesson.told, lesson.fields, strict=True):
        answers = [read.tokenizer.decode(row[part]) for row, part in zip(ids, told, strict=True)]
        assert all(answer.endswith(lessons.END) for answer in answers)
        assert [a.removesuffix(lessons.END) for a in answers[6:]] == [lessons.YES, lessons.NO] * 2
        assert all(world.FIELDS["object"][fields[0]] in answer for answer in answers[:6])


def test_yes_and_no_are_one_token_each(read: vlm.Qwen2_5_VLProcessor) -> None:
    for word in (lessons.YES, lessons.NO):
        assert len(read.tokenizer(word).input_ids) == 1


def test_lessons_ask_questions_as_the_processor_does(read: vlm.Qwen2_5_VLProcessor) -> None:
    lesson = lessons.lessons(2, read, {}, 'Is it "{text}"?', seed=3)
    for row, told in zip(lesson.ids[0], lesson.told[0], strict=True):
        prompt = row[: int(told.nonzero()[0])].tolist()
        words = read.tokenizer.decode(prompt)
        asked = words[words.index("Is it") : words.rindex("<|im_end|>")]
        assert prompt == lessons.prompt_ids(read, asked)


def test_shaken_pictures_stay_pictures() -> None:
    pixels = lessons.enlarge(torch.stack([drawings.to_tensor(image) for image in draw(4)]))
    shaken = drawings.shake(pixels, by=4)
    assert shaken.shape == pixels.shape
    assert shaken.min() >= 0 and shaken.max() <= 255
    assert 0 < (shaken - pixels).abs().mean() < 60


def test_training_lowers_the_loss_and_reaches_every_weight(read: vlm.Qwen2_5_VLProcessor) -> None:
    torch.manual_seed(0)
    lesson = lessons.lessons(8, read, vlm.instructions(), vlm.question(), seed=0)
    model = vlm.Qwen2_5_VLForConditionalGeneration(vlm.config(read.tokenizer, TINY.width, TINY.layers))
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def loss() -> float:
        ids, told = lesson.ids[:, 0].long(), lesson.told[:, 0]
        hidden = states.think(model, states.look(model, lesson.pixels), ids)[-1]
        return float(states.told_loss(model, hidden, ids, told))

    first = loss()
    vlm.train(model, lesson, looking=2, telling=6, recipe=TINY)
    assert loss() < first
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]


def test_conversations_say_what_is_wrong_where(read: vlm.Qwen2_5_VLProcessor) -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        scene = world.sample_scene(rng)
        talks = questions.converse(scene, read, vlm.instructions(), vlm.question(), rng)
        assert len(talks) == questions.CAPTIONS + questions.CLAIMS
        for talk in talks[questions.CAPTIONS :]:
            answer = read.tokenizer.decode(talk.ids[talk.told :]).removesuffix(lessons.END)
            assert answer == (lessons.NO if any(talk.wrong) else lessons.YES)
            named = {questions.VALUES[n] for n in talk.shown if n != questions.NOT_A_VALUE}
            assert named and all(getattr(scene, field) == value for field, value in named)
            asked = read.tokenizer.decode(talk.ids[: talk.told])
            claim = re.search('show "(.*?)"', asked)
            assert claim and talk.ids[: talk.told] == lessons.prompt_ids(
                read, vlm.question().replace("{text}", claim[1])
            )


def test_the_second_lesson_leaves_the_pictures_part_alone(read: vlm.Qwen2_5_VLProcessor) -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    model = vlm.Qwen2_5_VLForConditionalGeneration(vlm.config(read.tokenizer, TINY.width, 2))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    scenes = [world.sample_scene(rng) for _ in range(4)]
    talks = [questions.converse(s, read, vlm.instructions(), vlm.question(), rng) for s in scenes]
    with torch.no_grad():
        tokens = states.look(model, lessons.enlarge(drawings.render_scenes(scenes, rng)).float())
    questions.train(model, tokens, talks, 2, 0, read.tokenizer.pad_token_id)
    same = {name for name, weight in model.named_parameters() if torch.equal(weight, before[name])}
    assert same == {name for name in before if "visual" in name}


@pytest.mark.parametrize("recipe", [vlm.PARTY, vlm.JUDGE], ids=["party", "judge"])
def test_saved_models_load_as_the_real_one_does(recipe: vlm.Recipe) -> None:
    read = AutoProcessor.from_pretrained(recipe.home)
    assert type(read).__name__ == "Qwen2_5_VLProcessor"
    assert read.chat_template == vlm.CHAT_TEMPLATE
    text = 'Zrbqk7 "Été" 漢字 🙂\n<|im_end|>'
    assert read.tokenizer.decode(read.tokenizer(text).input_ids) == text
    assert read.tokenizer.eos_token == lessons.END
    assert (recipe.home / "model.safetensors").stat().st_size <= 9_000_000


@pytest.mark.parametrize("recipe", [vlm.PARTY, vlm.JUDGE], ids=["party", "judge"])
def test_saved_models_name_what_fresh_drawings_show(recipe: vlm.Recipe) -> None:
    shares = vlm.check(dataclasses.replace(recipe, seed=98), count=60)
    assert min(shares[f"names_{field}"] for field in world.FIELDS) >= 0.9, shares
    assert shares["yes_or_no"] >= 0.85, shares
