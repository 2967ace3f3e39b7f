"""Limits on the adapters that act together, and on seeds: in Python, on the command line and on the page."""

from numbers import Real

from autolora.errors import MismatchError

MAX_ACTING = 100
"""adapters of one image: each needs memory for its update, and the sum of more leaves nothing of any"""
MAX_STRENGTH = 4.0
"""largest factor of an adapter's update: one many times as large as it was trained leaves nothing of an image, and a
number such as 80 is meant as percent"""
MAX_SEED = 2**63 - 1
"""largest seed; the smallest is 0"""


def check_strength(name: str, strength: object) -> float:
    """Return the strength of an adapter; raises MismatchError if it is not a number from -MAX_STRENGTH to MAX_STRENGTH.

    name: of the adapter.
    """
    is_bool = isinstance(strength, bool)
    if isinstance(strength, Real) and not is_bool and abs(factor := float(strength)) <= MAX_STRENGTH:
        return factor
    raise MismatchError(
        f"the strength of adapter '{name}' is {strength!r}: give a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}, "
        "such as 0.8"
    )


def check_acting(number: int) -> None:
    """Raise MismatchError if more adapters than MAX_ACTING are given to act together."""
    if number > MAX_ACTING:
        raise MismatchError(f"{number} adapters are given, but at most {MAX_ACTING} act together: give fewer")
