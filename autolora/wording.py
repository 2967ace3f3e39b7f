"""Words for numbers, in messages, commands and reports."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, e.g. `1 adapter` or `1,000 adapters`. plural: default `noun` with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
