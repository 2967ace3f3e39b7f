"""The tiny VLMs: their processor, their training sets, their training, and the committed models' accuracy."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from playground import drawings, world
from playground.vlm import conversations, evaluation, forward, model, questions, training

TINY = training.Recipe(
    Path("nowhere"),
    64,
    layers=1,
    drawings=8,
    vision_steps=2,
    joint_steps=6,
    question_drawings=4,
    question_steps=4,
    seed=0,
)
RECIPES = pytest.mark.parametrize("recipe", [training.MAIN, training.JUDGE], ids=["main", "judge"])


@pytest.fixture(scope="module")
def reader() -> Qwen2_5_VLProcessor:
    return model.processor()


def draw(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [world.draw(world.sample_scene(rng), rng) for _ in range(count)]


def tiny_model(reader: Qwen2_5_VLProcessor, layers: int) -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration(model.config(reader.tokenizer, TINY.width, layers))


def test_training_patches_equal_the_processors(reader: Qwen2_5_VLProcessor) -> None:
    images = draw(6)
    expected = reader.image_processor(images, return_tensors="pt")
    pixels = torch.stack([drawings.to_tensor(image) for image in images])
    torch.testing.assert_close(
        conversations.patches(conversations.enlarge(pixels)), expected.pixel_values, atol=1e-5, rtol=0
    )
    assert expected.image_grid_thw.tolist() == [[1, conversations.GRID, conversations.GRID]] * 6


@pytest.mark.parametrize("side", [48, 64, 84, 100, 256, 512, 1024])
def test_processor_resizes_every_square_to_84_pixels(reader: Qwen2_5_VLProcessor, side: int) -> None:
    processed = reader.image_processor(Image.new("RGB", (side, side)), return_tensors="pt")
    assert processed.image_grid_thw.tolist() == [[1, 6, 6]]


def test_training_prompts_equal_the_processors(reader: Qwen2_5_VLProcessor) -> None:
    (image,) = draw(1)
    for instruction in model.instructions().values():
        content = [{"type": "image"}, {"type": "text", "text": instruction}]
        text = reader.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids = reader(text=[text], images=[image]).input_ids[0]
        assert ids == conversations.prompt_ids(reader, instruction)


def test_answer_mask_covers_the_answer_and_the_end_token(reader: Qwen2_5_VLProcessor) -> None:
    data = conversations.make_training_set(3, reader, model.instructions(), model.question(), seed=0)
    assert data.ids.shape[:2] == (3, 10)
    for ids, is_answer, labels in zip(data.ids, data.is_answer, data.labels, strict=True):
        answers = [reader.tokenizer.decode(row[mask]) for row, mask in zip(ids, is_answer, strict=True)]
        assert all(answer.endswith(model.END) for answer in answers)
        assert [a.removesuffix(model.END) for a in answers[6:]] == [model.YES, model.NO] * 2
        assert all(world.FIELDS["object"][labels[0]] in answer for answer in answers[:6])


def test_yes_and_no_are_one_token_each(reader: Qwen2_5_VLProcessor) -> None:
    for word in (model.YES, model.NO):
        assert len(reader.tokenizer(word).input_ids) == 1


def test_training_questions_equal_the_processors(reader: Qwen2_5_VLProcessor) -> None:
    data = conversations.make_training_set(2, reader, {}, 'Is it "{text}"?', seed=3)
    for row, is_answer in zip(data.ids[0], data.is_answer[0], strict=True):
        prompt = row[: int(is_answer.nonzero()[0])].tolist()
        text = reader.tokenizer.decode(prompt)
        question = text[text.index("Is it") : text.rindex("<|im_end|>")]
        assert prompt == conversations.prompt_ids(reader, question)


def test_augmentation_keeps_shape_and_range() -> None:
    pixels = conversations.enlarge(torch.stack([drawings.to_tensor(image) for image in draw(4)]))
    augmented = drawings.augment(pixels, by=4)
    assert augmented.shape == pixels.shape
    assert augmented.min() >= 0 and augmented.max() <= 255
    assert 0 < (augmented - pixels).abs().mean() < 60


@pytest.mark.slow
def test_training_lowers_the_loss_and_changes_every_weight(reader: Qwen2_5_VLProcessor) -> None:
    torch.manual_seed(0)
    data = conversations.make_training_set(8, reader, model.instructions(), model.question(), seed=0)
    vlm = tiny_model(reader, TINY.layers)
    before = {name: weight.clone() for name, weight in vlm.named_parameters()}

    @torch.no_grad()
    def loss() -> float:
        ids, is_answer = data.ids[:, 0].long(), data.is_answer[:, 0]
        states = forward.hidden_states(vlm, forward.image_tokens(vlm, data.pixels), ids)
        return float(forward.answer_loss(vlm, states[-1], ids, is_answer))

    first = loss()
    training.train(vlm, data, vision_steps=2, joint_steps=6, recipe=TINY)
    assert loss() < first
    assert not [name for name, weight in vlm.named_parameters() if torch.equal(weight, before[name])]


@pytest.mark.slow
def test_conversations_mark_the_wrong_words(reader: Qwen2_5_VLProcessor) -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        scene = world.sample_scene(rng)
        talks = questions.converse(scene, reader, model.instructions(), model.question(), rng)
        assert len(talks) == questions.CAPTIONS + questions.CLAIMS
        for talk in talks[questions.CAPTIONS :]:
            answer = reader.tokenizer.decode(talk.ids[talk.answer_start :]).removesuffix(model.END)
            assert answer == (model.NO if any(talk.is_wrong) else model.YES)
            named = {questions.VALUES[n] for n in talk.true_value if n != questions.NOT_A_VALUE}
            assert named and all(getattr(scene, field) == value for field, value in named)
            prompt = reader.tokenizer.decode(talk.ids[: talk.answer_start])
            claim = re.search('show "(.*?)"', prompt)
            assert claim and talk.ids[: talk.answer_start] == conversations.prompt_ids(
                reader, model.question().replace("{text}", claim[1])
            )


def test_question_training_does_not_change_the_vision_part(reader: Qwen2_5_VLProcessor) -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    vlm = tiny_model(reader, 2)
    before = {name: weight.clone() for name, weight in vlm.named_parameters()}
    scenes = [world.sample_scene(rng) for _ in range(4)]
    talks = [
        questions.converse(scene, reader, model.instructions(), model.question(), rng) for scene in scenes
    ]
    with torch.no_grad():
        pixels = conversations.enlarge(drawings.render_scenes(scenes, rng))
        tokens = forward.image_tokens(vlm, pixels.float())
    questions.train(vlm, tokens, talks, 2, 0, reader.tokenizer.pad_token_id)
    unchanged = {name for name, weight in vlm.named_parameters() if torch.equal(weight, before[name])}
    assert unchanged == {name for name in before if "visual" in name}


@RECIPES
def test_committed_models_load_like_qwen(recipe: training.Recipe) -> None:
    reader = AutoProcessor.from_pretrained(recipe.home)
    assert type(reader).__name__ == "Qwen2_5_VLProcessor"
    assert reader.chat_template == model.CHAT_TEMPLATE
    text = 'Zrbqk7 "Été" 漢字 🙂\n<|im_end|>'
    assert reader.tokenizer.decode(reader.tokenizer(text).input_ids) == text
    assert reader.tokenizer.eos_token == model.END
    assert (recipe.home / "model.safetensors").stat().st_size <= 9_000_000


@pytest.mark.slow
@RECIPES
def test_committed_models_describe_fresh_drawings(recipe: training.Recipe) -> None:
    shares = evaluation.check(recipe.home, seed=98, count=60)
    assert min(shares[f"names_{field}"] for field in world.FIELDS) >= 0.9, shares
    assert shares["yes_or_no"] >= 0.85, shares
