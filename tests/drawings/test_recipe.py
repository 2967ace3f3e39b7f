"""How drawings differ from images."""

from dataclasses import replace

import pytest

from autolora.drawings.recipe import MAX_SIDE, MAX_STEPS, Base
from tests.support.small_root import params


@pytest.mark.parametrize(
    ("width", "height", "steps", "side", "drawn_steps"),
    [(1024, 768, 28, MAX_SIDE, MAX_STEPS), (1024, 256, 4, 256, 4)],
)
def test_drawings_are_not_larger_than_images(
    width: int, height: int, steps: int, side: int, drawn_steps: int
) -> None:
    given = params()
    generation = replace(given.generation, width=width, height=height, steps=steps)
    drawing = Base.of(replace(given, generation=generation)).generation
    assert (drawing.width, drawing.height, drawing.steps) == (side, side, drawn_steps)
