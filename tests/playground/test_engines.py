"""The second drawing engine draws the same scenes as the first one, with other code."""

from __future__ import annotations

import ast
import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from playground import drawings, oracle, world
from playground.sdf import drawing
from playground.sdf.layers import COLOURS
from playground.sdf.objects import PAINT
from playground.sdf.scenery import SCENERY
from playground.sdf.shapes import Plane, blended, joined, within, without
from playground.sdf.styles import STYLES

SDF = Path(drawing.__file__).parent
NAMES = (world.PLAIN, *world.ALL_STYLES)
FEWEST_PER_SECOND = 200


def draw(scene: world.Scene, seed: int = 1) -> np.ndarray:
    return np.asarray(drawing.draw(scene, np.random.default_rng(seed)), float)


def test_both_engines_have_the_same_vocabulary() -> None:
    names = {"object": PAINT, "colour": COLOURS, "background": SCENERY, "style": STYLES}
    assert {field: (*values,) for field, values in names.items()} == world.FIELDS


def test_second_engine_imports_no_drawing_code_of_the_first() -> None:
    imported = {
        node.module
        for path in SDF.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("playground")
    }
    outside = {name for name in imported if not name.startswith("playground.sdf")}
    assert outside == {"playground.world"}
    assert "from playground.world import Scene\n" in (SDF / "drawing.py").read_text()


@pytest.mark.parametrize("style", NAMES)
def test_every_object_can_be_drawn_in_every_style(style: str) -> None:
    for name in world.OBJECTS:
        image = drawing.draw(world.Scene(name, "red", "grass field", style), np.random.default_rng(0))
        assert image.size == (world.SIZE, world.SIZE) and image.mode == "RGB"
        assert np.asarray(image).std() > 10


def test_same_seed_gives_the_same_drawing() -> None:
    for style in NAMES:
        scene = world.Scene("boat", "blue", "night sky", style)
        assert np.array_equal(draw(scene, 4), draw(scene, 4))
        assert not np.array_equal(draw(scene, 4), draw(scene, 5))


def test_objects_backgrounds_and_styles_differ() -> None:
    groups = [
        [world.Scene(name, "green", "white") for name in world.OBJECTS],
        [world.Scene("ball", "green", name) for name in world.FIELDS["background"]],
        [world.Scene("house", "green", "sand", style) for style in NAMES],
    ]
    for scenes in groups:
        for first, second in itertools.combinations(map(draw, scenes), 2):
            assert np.abs(first - second).mean() > 4


def test_engines_differ_more_than_two_drawings_of_one_engine() -> None:
    rng = np.random.default_rng(3)
    scenes = [world.sample_scene(rng) for _ in range(60)]
    first, again, second = (
        drawings.render_scenes(scenes, np.random.default_rng(seed), engine=engine).float()
        for engine, seed in (("world", 1), ("world", 2), ("second", 1))
    )
    assert (first - second).abs().mean() > 1.5 * (first - again).abs().mean()


def test_judges_that_never_saw_the_engine_recognize_its_drawings() -> None:
    """Chance is 1 of 24 objects, 8 colours, 10 backgrounds and 23 styles."""
    pixels, scenes = drawings.render(400, seed=6, engine="second")
    is_right = world.label_indices(scenes) == world.label_indices(oracle.classify(oracle.load(), pixels))
    assert (is_right.mean(0) > (0.4, 0.6, 0.5, 0.35)).all(), is_right.mean(0)


def test_second_engine_is_fast_enough() -> None:
    rng = np.random.default_rng(2)
    scenes = [world.sample_scene(rng) for _ in range(200)]
    started = time.process_time()
    for scene in scenes:
        drawing.draw(scene, rng)
    assert len(scenes) / (time.process_time() - started) > FEWEST_PER_SECOND


def plane() -> Plane:
    """Return a plane of 41 x 41 points from -2 to 2."""
    axis = np.linspace(-2, 2, 41, dtype=np.float32)
    return Plane(*np.meshgrid(axis, axis))


def test_fields_are_signed_distances() -> None:
    at = plane()
    fields = [
        at.circle(0.2, 0.1, 0.8),
        at.box(-1, -0.5, 1, 0.5, 0.2),
        at.stroke([(-1, 0), (0, 1), (1, 0)], 0.3),
        at.ring(0, 0, 1, 0.2),
        at.polygon([(-1, -1), (1, -1), (0, 1)], 0.1),
    ]
    for distances in fields:
        steps = np.hypot(*np.gradient(distances, 0.1))
        assert distances.min() < 0 < distances.max()
        assert np.percentile(steps, 99) < 1.02  # a distance grows by at most the way


def test_a_polygon_is_inside_between_its_edges() -> None:
    field = plane().polygon([(-1.02, -1.02), (1.02, -1.02), (1.02, 1.02), (-1.02, 1.02)])
    assert np.allclose(field, plane().box(-1.02, -1.02, 1.02, 1.02), atol=1e-5)


def test_shapes_are_combined() -> None:
    at = plane()
    left, right = at.circle(-0.5, 0, 0.7), at.circle(0.5, 0, 0.7)
    assert np.array_equal(joined(left, right) < 0, (left < 0) | (right < 0))
    assert np.array_equal(within(left, right) < 0, (left < 0) & (right < 0))
    assert np.array_equal(without(left, right) < 0, (left < 0) & (right > 0))
    assert (blended(left, right, 0.3) <= joined(left, right) + 1e-6).all()


def test_a_turned_plane_turns_shapes_clockwise() -> None:
    upright, turned = (
        plane().stroke([(0, -1), (0, 0)], 0.4),
        plane().turned(90).stroke([(0, -1), (0, 0)], 0.4),
    )
    assert upright[10, 20] < 0 < upright[20, 30]
    assert turned[20, 30] < 0 < turned[10, 20]
