"""Texts of messages, commands and reports."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, e.g. `1 adapter` or `1,000 adapters`. plural: default `noun` with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def printable(text: str) -> str:
    """Return a text from an image or a hub without characters that control a terminal or the direction of writing."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
