"""The one rule on strengths, and on the number of adapters."""

from typing import Any

import numpy as np
import pytest

from autolora.errors import MismatchError
from autolora.limits import MAX_ACTING, check_acting, check_strength


@pytest.mark.parametrize("strength", [0, 1, -4, 4.0, 0.8, np.float32(0.5)])
def test_numbers_within_the_limit_are_strengths(strength: Any) -> None:
    factor = check_strength("author/name", strength)
    assert type(factor) is float and factor == strength


@pytest.mark.parametrize("strength", [50, -4.01, float("nan"), float("inf"), "0.8", None, True, [1]])
def test_anything_else_is_an_error_that_names_adapter_and_limits(strength: Any) -> None:
    with pytest.raises(MismatchError, match=r"of adapter 'author/name' is .*: give a number from -4 to 4"):
        check_strength("author/name", strength)


def test_the_limit_itself_is_allowed() -> None:
    check_acting(MAX_ACTING)
    with pytest.raises(MismatchError, match="at most 100 act together: give fewer"):
        check_acting(MAX_ACTING + 1)
