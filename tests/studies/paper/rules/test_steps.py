"""The step of a denoising is that of the pipeline that draws."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from autolora.errors import MismatchError
from studies.paper.rules.steps import DenoisingSteps, Step
from studies.paper.rules.turns import Acting, attach_by_turns, only
from tests.fusion.rules.adapters import adapter
from tests.studies.paper.rules.calls import STEPS, draw
from tests.support.one_call import OneCall, Scheduler, build_transformer
from tests.support.tiny_flux import build_pipeline

ADAPTERS = [adapter(1), adapter(2, rank=5, share=0.5)]


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


def record_steps(pipe: Any) -> tuple[list[Step], Any]:
    """Return a list that the steps of each call of the transformer will be added to, and what ends it."""
    steps: list[Step] = []
    denoising = DenoisingSteps(pipe)

    def choose(timestep: Tensor | None) -> Sequence[Acting]:
        steps.append(denoising.read(timestep))
        return [only(0, 1)]

    return steps, attach_by_turns(pipe, ADAPTERS, choose)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_are_those_of_the_pipeline_also_with_two_calls_per_step(dtype: torch.dtype) -> None:
    pipe = build_pipeline().to(dtype)
    steps, attachment = record_steps(pipe)
    with attachment:
        draw(pipe)
        draw(pipe, true_cfg=True)
    numbers = [*range(STEPS), *(step for step in range(STEPS) for _ in range(2))]
    assert steps == [Step(number, STEPS) for number in numbers]


def test_steps_of_image_to_image_begin_with_0() -> None:
    from diffusers import FluxImg2ImgPipeline

    pipe = FluxImg2ImgPipeline(**build_pipeline().components)
    steps, attachment = record_steps(pipe)
    with attachment:
        draw(pipe, image=Image.new("RGB", (32, 32), "red"), strength=0.5)
    assert steps == [Step(0, 2), Step(1, 2)]


def test_a_call_outside_the_steps_of_the_pipeline_is_an_error(transformer: Any) -> None:
    pipeline = OneCall(transformer)
    wrong = [None, Scheduler(10, 10), Scheduler(0, 10)]
    wrong[2].timesteps += 50  # type: ignore[union-attr]
    for scheduler in wrong:
        pipeline.scheduler = scheduler
        with (
            record_steps(pipeline)[1],
            pytest.raises(MismatchError, match="outside the steps of the pipeline"),
        ):
            pipeline()


def test_a_pipeline_is_not_kept_alive_by_its_steps(transformer: Any) -> None:
    steps = DenoisingSteps(OneCall(transformer))
    with pytest.raises(MismatchError, match="outside the steps"):
        steps.read(None)
