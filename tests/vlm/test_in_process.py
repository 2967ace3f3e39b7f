"""Captions of a model in this process do not depend on how they are computed."""

from dataclasses import asdict
from pathlib import Path

from autolora import vlm
from autolora.vlm.images import load_rendering
from autolora.vlm.in_process import InProcessModel
from tests.vlm.engines import VALUES, describe


def test_in_process_caption_does_not_depend_on_its_batch(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instruction = VALUES.captions.instructions.medium
    together = describe(captioner, images, instruction, max_tokens=24)
    alone = [describe(captioner, [image], instruction, max_tokens=24) for image in images]
    assert [result.text for (result,) in alone] == [result.text for result in together]  # type: ignore[union-attr]


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
    assert captioner._generate(opened, ["Name it.", instruction], 24)[1] == plain
