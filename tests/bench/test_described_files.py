"""The described files of `python -m bench.described_files`, and its measurement on a few of them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from autolora.lora.bases import find_origin
from autolora.storage.files import read_rows
from bench.described_files.__main__ import DATA, FORMS, SOURCES, draw, rank, read_prompts, write_folder


def test_each_file_is_asked_for_once_and_forty_prompts_ask_for_none() -> None:
    files, prompts = list(read_rows(DATA / "files.jsonl")), read_prompts()
    numbers = Counter(row["number"] for row in prompts)
    assert len(files) == 130 and {*range(130)} == numbers.keys() - {-1}
    assert numbers.pop(-1) == 40 and {*numbers.values()} == {1}
    assert all(row[form].strip() for row in prompts for form in FORMS)
    known = Counter(row["known_by"] for row in files)
    assert known.keys() == {*SOURCES} and known["nothing"] == 15


def test_the_folder_has_files_of_three_layouts_for_flux(tmp_path: Path) -> None:
    write_folder(tmp_path / "loras", 133)
    paths = sorted((tmp_path / "loras").rglob("*.safetensors"))
    assert len(paths) == 133 and len({path.name for path in paths}) >= 130
    writers = set()
    for path in paths[:12]:
        origin = find_origin({name: tuple(tensor.shape) for name, tensor in load_file(path).items()}, {})
        assert origin.base == "FLUX.1" or "FLUX.1" in origin.others
        writers.add(origin.writer)
    assert len(writers) == 3


def test_files_differ_and_are_drawn_alike_again() -> None:
    first, again, other = draw(3), draw(3), draw(6)
    assert first.keys() == again.keys() == other.keys()
    name = next(iter(first))
    assert first[name].equal(again[name]) and not first[name].equal(other[name])


@pytest.mark.parametrize(("scores", "expected"), [([3, 2, 1], 2), ([1, 2, 2], 2), ([5, 0, 5], 3)])
def test_the_rank_is_the_last_one_among_equal_scores(scores: list[float], expected: int) -> None:
    assert rank(np.array(scores, np.float64), 1) == expected
