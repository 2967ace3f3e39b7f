"""The tiny VLM: its processor, its lessons, and what it says of fresh drawings."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from playground import drawings, lessons, vlm, world


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
    lesson = lessons.lessons(3, read, vlm.instructions(), seed=0)
    assert lesson.ids.shape[:2] == (3, 6)
    for ids, told, fields in zip(lesson.ids, lesson.told, lesson.fields, strict=True):
        for row, part in zip(ids, told, strict=True):
            answer = read.tokenizer.decode(row[part])
            assert answer.endswith(lessons.END)
            assert lessons.FIELDS["object"][fields[0]] in answer


def test_shaken_pictures_stay_pictures() -> None:
    pixels = lessons.enlarge(torch.stack([drawings.to_tensor(image) for image in draw(4)]))
    shaken = lessons.shake(pixels)
    assert shaken.shape == pixels.shape
    assert shaken.min() >= 0 and shaken.max() <= 255
    assert 0 < (shaken - pixels).abs().mean() < 60


def test_training_lowers_the_loss_and_reaches_every_weight(read: vlm.Qwen2_5_VLProcessor) -> None:
    torch.manual_seed(0)
    lesson = lessons.lessons(8, read, vlm.instructions(), seed=0)
    model = vlm.Qwen2_5_VLForConditionalGeneration(vlm.config(read.tokenizer))
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def loss() -> float:
        return float(vlm.tell(model, vlm.look(model, lesson.pixels), lesson.ids[:, 0], lesson.told[:, 0]))

    first = loss()
    vlm.train(model, lesson, looking=2, telling=6)
    assert loss() < first
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]


def test_saved_tokenizer_spells_any_text() -> None:
    words = AutoTokenizer.from_pretrained(vlm.HOME)
    text = 'Zrbqk7 "Été" 漢字 🙂\n<|im_end|>'
    assert words.decode(words(text).input_ids) == text
    assert words.eos_token == lessons.END


def test_saved_processor_and_weights_fit_the_repository() -> None:
    read = AutoProcessor.from_pretrained(vlm.HOME)
    assert type(read).__name__ == "Qwen2_5_VLProcessor"
    assert read.chat_template == vlm.CHAT_TEMPLATE
    assert (vlm.HOME / "model.safetensors").stat().st_size <= 9_000_000


def test_saved_model_names_what_fresh_drawings_show() -> None:
    shares = vlm.check(count=60, seed=99)
    assert min(shares["object"], shares["colour"], shares["style"]) >= 0.9, shares
    assert shares["background"] >= 0.8, shares  # ink and neon leave little of some backgrounds
