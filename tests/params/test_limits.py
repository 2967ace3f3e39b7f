"""The one rule on what an image is drawn from: prompt, seed, and adapters with strengths and relevances."""

from typing import Any

import numpy as np
import pytest

from autolora.errors import MismatchError
from autolora.params.limits import (
    MAX_ACTING,
    MAX_SEED,
    check_acting,
    check_prompt,
    check_relevance,
    check_seed,
    check_strength,
)


@pytest.mark.parametrize("strength", [0, 1, -4, 4.0, 0.8, np.float32(0.5)])
def test_numbers_within_the_limit_are_strengths(strength: Any) -> None:
    factor = check_strength("author/name", strength)
    assert type(factor) is float and factor == strength


@pytest.mark.parametrize("strength", [50, -4.01, float("nan"), float("inf"), "0.8", None, True, [1]])
def test_anything_else_is_an_error_that_names_adapter_and_limits(strength: Any) -> None:
    with pytest.raises(MismatchError, match=r"of adapter 'author/name' is .*: give a number from -4 to 4"):
        check_strength("author/name", strength)


def test_the_limit_itself_is_allowed() -> None:
    adapters = [f"{number:064x}" for number in range(MAX_ACTING + 1)]
    check_acting(adapters[:-1])
    with pytest.raises(MismatchError, match="at most 100 act together: give fewer"):
        check_acting(adapters)


def test_an_adapter_acts_once() -> None:
    with pytest.raises(MismatchError, match="the adapter aaaaaaaa is given twice: give it once"):
        check_acting(["a" * 64, "b" * 64, "a" * 64])
    with pytest.raises(MismatchError, match="the adapter hub:x is given twice"):
        check_acting(["a" * 64, "a" * 64], ["hub:x", "hub:x"])


@pytest.mark.parametrize("relevance", [None, 0, 1, 0.5, np.float32(0.5)])
def test_probabilities_are_relevances(relevance: Any) -> None:
    check_relevance("author/name", relevance)


@pytest.mark.parametrize("relevance", [1.01, -0.1, float("nan"), float("inf"), "0.8", True])
def test_another_relevance_is_an_error(relevance: Any) -> None:
    with pytest.raises(
        MismatchError, match=r"of adapter 'author/name' is .*: give a number from 0 to 1, or None"
    ):
        check_relevance("author/name", relevance)


@pytest.mark.parametrize("seed", [0, 3, MAX_SEED])
def test_whole_numbers_within_the_limit_are_seeds(seed: int) -> None:
    check_seed(seed)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 0.5, True, None, "1"])
def test_another_seed_is_an_error(seed: Any) -> None:
    with pytest.raises(ValueError, match=f"give a whole number from 0 to {MAX_SEED}"):
        check_seed(seed)


def test_a_prompt_is_a_text_that_says_something() -> None:
    assert check_prompt("a cat") == "a cat"
    for empty in ("", " \n"):
        with pytest.raises(ValueError, match="the prompt is empty"):
            check_prompt(empty)
    with pytest.raises(ValueError, match="the prompt is not valid UTF-8"):
        check_prompt("a \ud800")
    with pytest.raises(TypeError, match="the prompt is of type int"):
        check_prompt(5)
