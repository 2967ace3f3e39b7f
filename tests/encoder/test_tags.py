"""Tags: the nearest candidates with calibrated probabilities, stored beside the encoder."""

import itertools
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolora.encoder.examples import TrainExample
from autolora.encoder.tag_fitting import MAX_CANDIDATES, contains, fit_tags, list_candidates
from autolora.encoder.tags import TAGS, Tag, TagTable, describe_tags, load_tags, save_tags
from autolora.errors import MissingArtifact
from autolora.storage.arrays import Float64Array

WORDS = ("cat", "red cat", "dog", "house", "tree")
WIDTH = 24


def one_hot(rows: Sequence[int], width: int = WIDTH) -> Float64Array:
    return np.eye(width)[list(rows)]


def make_table(coefficients: tuple[float, float] = (10.0, -5.0)) -> TagTable:
    return TagTable(WORDS, one_hot(range(5)).astype(np.float32), np.array(coefficients))


PLACES = ("sand", "snow", "grass", "street")


def make_examples(count: int = 24, subjects: Sequence[str] = ("cat", "dog", "house")) -> list[TrainExample]:
    """Return adapters of a subject each, every one of its own family; one caption of three names a place too."""
    return [
        TrainExample(
            str(n), f"family{n}", ((f"a {subject} on {PLACES[n % 4]}",), (f"a {subject}", f"the {subject}"))
        )
        for n in range(count)
        for subject in [subjects[n % len(subjects)]]
    ]


class Texts:
    """Stands for a text encoder: every text has a direction of its own."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> Float64Array:
        return one_hot([self.rows.setdefault(text, len(self.rows)) for text in texts])


def test_tags_are_the_nearest_candidates_without_common_words() -> None:
    weights = np.zeros((1, WIDTH))
    weights[0, :4] = [0.8, 0.7, 0.5, 0.3]
    (tags,) = make_table().tags(100 * weights)
    assert [tag.text for tag in tags] == [
        "cat",
        "dog",
        "house",
    ]  # “red cat” is nearer than “dog”, but says it again
    unit = weights[0] / np.linalg.norm(weights)
    expected = [1 / (1 + np.exp(5 - 10 * unit[row])) for row in (0, 2, 3)]
    assert [tag.probability for tag in tags] == pytest.approx(expected, abs=1e-3)


def test_an_adapter_without_a_direction_has_tags_that_are_not_likely() -> None:
    (tags,) = make_table().tags(np.zeros((1, WIDTH)))
    assert not any(tag.is_likely for tag in tags)


def test_likely_tags_are_named_and_else_the_nearest() -> None:
    tags = (Tag(text="cat", probability=0.914), Tag(text="dog", probability=0.2))
    assert describe_tags(tags) == "cat (91%)"
    assert describe_tags(tags[1:]) == "none is likely; the nearest is dog (20%)"
    assert describe_tags(()) == ""


def test_probabilities_are_higher_for_what_weights_predict() -> None:
    embed, examples = Texts(), make_examples()
    embed(["cat", "dog", "house"])
    weights = one_hot([n % 3 for n in range(len(examples))])
    rng = np.random.default_rng(0)
    table = fit_tags(examples, weights + 0.1 * rng.standard_normal(weights.shape), embed)
    assert table is not None and set(table.texts) == {"cat", "dog", "house", *PLACES}
    (tags,) = table.tags(one_hot([1]))
    assert tags[0].text == "dog" and tags[0].probability > 0.8 and not tags[1].is_likely


def test_weights_that_predict_nothing_give_no_likely_tags() -> None:
    examples = make_examples(60, subjects=("cat", "dog", "house", "tree", "car", "cup"))
    weights = np.random.default_rng(0).standard_normal((len(examples), WIDTH))
    table = fit_tags(examples, weights, Texts())
    assert table is not None
    assert not any(tag.is_likely for tags in table.tags(weights) for tag in tags)


def test_words_of_one_family_are_not_candidates_for_it() -> None:
    """Otherwise each training adapter would find its own words, which those of a new adapter may not be among."""
    examples = make_examples(count=6, subjects=[f"thing{letter}" for letter in "abcdef"])
    embed = Texts()
    embed([f"thing{letter}" for letter in "abcdef"])
    table = fit_tags(examples, one_hot(range(6)), embed)
    assert table is not None
    assert all(not tag.is_likely for tags in table.tags(one_hot(range(6))) for tag in tags)


@pytest.mark.parametrize(
    "examples", [[], [TrainExample("a", "f", (("a cat",),))]], ids=["none", "one family"]
)
def test_without_candidates_of_other_families_there_are_no_tags(examples: list[TrainExample]) -> None:
    assert fit_tags(examples, one_hot(range(len(examples))), Texts()) is None


def test_candidates_are_words_of_captions_with_their_families() -> None:
    candidates = list_candidates(make_examples(4))
    assert candidates["cat"] == {"family0", "family3"} and candidates["sand"] == {"family0"}
    assert next(iter(candidates)) == "cat" and "on" not in candidates


def test_the_most_frequent_words_are_candidates() -> None:
    words = ["".join(letters) for letters in itertools.product("bcdfghjklmnpqrst", repeat=3)]
    rare = [TrainExample(word, word, ((word,),)) for word in words]
    candidates = list_candidates([*rare, *make_examples(9)])
    assert len(candidates) == MAX_CANDIDATES and "cat" in candidates and words[-1] not in candidates


def test_most_captions_contain_whole_words() -> None:
    assert contains(["A red-cat.", "a dog"], "red cat") and not contains(["a cat", "a dog", "x"], "cat")
    assert not contains(["a catalog"], "cat")


def test_tags_are_stored_and_removed(tmp_path: Path) -> None:
    save_tags(tmp_path, make_table())
    loaded = load_tags(tmp_path)
    assert loaded is not None and loaded.texts == WORDS
    assert np.array_equal(loaded.vectors, make_table().vectors)
    assert np.array_equal(loaded.coefficients, make_table().coefficients)
    save_tags(tmp_path, None)
    assert load_tags(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_damaged_tags_are_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TAGS).write_bytes(content)
    with pytest.raises(MissingArtifact, match=r"tags.safetensors is damaged .*dvc repro encoder"):
        load_tags(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"texts": ("one",)},
        {"texts": (1, 2, 3, 4, 5)},
        {"texts": (*WORDS[:4], "\x1b[31mred")},
        {"vectors": np.zeros(5, dtype=np.float32)},
        {"coefficients": np.zeros(3)},
    ],
)
def test_tags_whose_parts_do_not_fit_are_an_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_tags(tmp_path, replace(make_table(), **changes))
    with pytest.raises(MissingArtifact, match=r"tags.safetensors is damaged \(expected"):
        load_tags(tmp_path)


def test_reading_tags_does_not_load_torch() -> None:
    program = "import sys; import autolora.index.tags, autolora.show.lookup; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
