"""What values may be: bounds of fields, as annotations that the reader of params.yaml checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class Bound:
    """What the value of a field must be."""

    text: str
    """for an error, after `must be`"""
    holds: Callable[[Any], bool]


AT_LEAST_0 = Bound("at least 0", lambda value: value >= 0)
AT_LEAST_1 = Bound("at least 1", lambda value: value >= 1)
ABOVE_0 = Bound("above 0", lambda value: value > 0)

Natural = Annotated[int, AT_LEAST_0]
Count = Annotated[int, AT_LEAST_1]
NonNegative = Annotated[float, AT_LEAST_0]
Positive = Annotated[float, ABOVE_0]
Share = Annotated[float, Bound("between 0 and 1, both allowed", lambda value: 0 <= value <= 1)]
Side = Annotated[int, AT_LEAST_1, Bound("a multiple of 16 px", lambda value: value % 16 == 0)]
"""of an image"""
