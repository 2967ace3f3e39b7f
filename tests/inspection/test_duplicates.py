"""Duplicates among inspected files."""

from dataclasses import replace

import pytest

from autolora.inspection.duplicates import FIRST_ROWS, EarlierFiles, NearDuplicate
from autolora.lora.factors import Lora
from autolora.lora.sketch import Sketch, SketchSpec, sketch
from tests.lora.writing import SLOTS, draw_lora


def sketched(lora: Lora) -> Sketch:
    return sketch(lora, SLOTS, SketchSpec(16))


def find_near(files: EarlierFiles, lora: Lora, path: str) -> NearDuplicate | None:
    item = sketched(lora)
    return files.find_near(item, item.norm, path)


def test_same_bytes_are_found_under_the_first_path() -> None:
    files = EarlierFiles(0.99)
    found = [
        files.find_exact(sha256, path) for sha256, path in (("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"))
    ]
    assert found == [None, None, "1", "1"]


def test_rescaled_update_is_a_near_duplicate_of_the_first() -> None:
    files, lora = EarlierFiles(0.99), draw_lora(1)
    stronger = {name: replace(factors, scale=3 * factors.scale) for name, factors in lora.items()}
    assert find_near(files, lora, "first") is None
    assert find_near(files, draw_lora(2), "other") is None
    near = find_near(files, stronger, "second")
    assert near and (near.path, near.cosine, near.strength) == ("first", 1.0, 3.0)
    assert find_near(files, lora, "third") == replace(near, strength=1.0)


@pytest.mark.slow
def test_more_files_than_there_is_memory_for_at_first() -> None:
    files = EarlierFiles(0.99)
    loras = [draw_lora(seed) for seed in range(FIRST_ROWS + 3)]
    assert [find_near(files, lora, str(i)) for i, lora in enumerate(loras)] == [None] * len(loras)
    near = [find_near(files, loras[i], "again") for i in (0, FIRST_ROWS - 1, FIRST_ROWS + 2)]
    assert [item and item.path for item in near] == ["0", str(FIRST_ROWS - 1), str(FIRST_ROWS + 2)]
