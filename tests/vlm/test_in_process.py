"""Captions of a model in this process do not depend on how they are computed."""

from dataclasses import asdict
from pathlib import Path

import pytest

from autolora import vlm
from autolora.vlm.images import load_rendering
from autolora.vlm.in_process import InProcessModel
from tests.vlm.engines import VALUES, describe


@pytest.mark.slow
def test_in_process_caption_does_not_depend_on_its_batch(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instruction = VALUES.captions.instructions.medium
    together = describe(captioner, images, instruction, max_tokens=24)
    alone = [describe(captioner, [image], instruction, max_tokens=24) for image in images]
    assert [result.text for (result,) in alone] == [result.text for result in together]  # type: ignore[union-attr]


@pytest.mark.slow
def test_in_process_caption_does_not_depend_on_the_instructions_before_it(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instructions = list(asdict(VALUES.captions.instructions).values())
    together = {
        (result.position, result.instruction): result
        for result in describe(captioner, images, *instructions, max_tokens=24)
    }
    alone = [result for text in instructions for result in describe(captioner, images, text, max_tokens=24)]
    assert len(alone) == len(together) == 18
    assert all(together[result.position, result.instruction] == result for result in alone)  # type: ignore[union-attr]


def test_image_encoded_once_has_the_caption_that_plain_generation_gives(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    assert isinstance(captioner, InProcessModel)
    model, processor = captioner._model, captioner._processor
    opened = [load_rendering(path, 1024) for path in images[:4]]
    instruction = VALUES.captions.instructions.long
    inputs = captioner._inputs(opened, [instruction] * 4)
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    plain = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    answers = captioner._generate(opened, ["Name it.", instruction], 24)[1]
    assert answers == [(text, False) for text in plain]


LIMIT = 11
"""tokens within which some captions of the images end, and others do not"""


@pytest.mark.slow
def test_cut_caption_is_generated_again_and_whole_ones_are_as_before(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instruction = VALUES.captions.instructions.long
    whole = describe(captioner, images, instruction, max_tokens=48)
    assert describe(captioner, images, instruction, max_tokens=LIMIT) == whole
    assert not any(result.cut for result in whole)  # type: ignore[union-attr]


def test_caption_that_is_cut_again_is_a_marked_beginning_of_the_whole_one(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instruction = VALUES.captions.instructions.long
    whole = describe(captioner, images, instruction, max_tokens=48)
    short = describe(captioner, images, instruction, max_tokens=3)
    assert any(result.cut for result in short)  # type: ignore[union-attr]
    for cut, full in zip(short, whole, strict=True):
        assert isinstance(cut, vlm.Answer) and isinstance(full, vlm.Answer)
        assert full.text.startswith(f"{cut.text} ") if cut.cut else cut == full


@pytest.mark.parametrize("eos", [[1, 702], 702], ids=["list", "one id"])
def test_end_of_an_answer_is_each_of_the_models_end_tokens(
    images: list[Path], captioner: vlm.Captioner, monkeypatch: pytest.MonkeyPatch, eos: object
) -> None:
    assert isinstance(captioner, InProcessModel)
    monkeypatch.setattr(captioner._model.generation_config, "eos_token_id", eos)
    (result,) = describe(captioner, images[:1], VALUES.captions.instructions.short, max_tokens=48)
    assert isinstance(result, vlm.Answer) and not result.cut


def test_every_answer_of_a_model_without_an_end_token_is_cut(
    images: list[Path], captioner: vlm.Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(captioner, InProcessModel)
    monkeypatch.setattr(captioner._model.generation_config, "eos_token_id", None)
    (result,) = describe(captioner, images[:1], VALUES.captions.instructions.short, max_tokens=5)
    assert isinstance(result, vlm.Answer) and result.cut
