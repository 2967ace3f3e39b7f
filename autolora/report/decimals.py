"""Numbers as the page prints them: with two decimals and a true minus sign."""

DECIMALS = 2


def printed(value: float) -> float:
    """Return a number at the precision of the page."""
    return round(value, DECIMALS) + 0.0  # + 0.0 makes 0.0 of -0.0


def decimal(value: float, signed: bool = False) -> str:
    """Return a number as text, e.g. `−0.25`. signed: a positive one begins with `+`."""
    number = printed(value)
    sign = "+" if signed and number > 0 else ""
    return f"{sign}{number:.{DECIMALS}f}".replace("-", "−")


def tick(value: float) -> str:
    """Return the end of an axis as text, e.g. `−0.2` or `1`."""
    return f"{value:.2g}".replace("-", "−")
