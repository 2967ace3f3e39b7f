"""Texts of messages, commands and reports."""

MAX_QUOTED_WORDS, MAX_QUOTED = 5, 40
"""words and characters of a text that a message quotes"""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, e.g. `1 adapter` or `1,000 adapters`. plural: default `noun` with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def printable(text: str) -> str:
    """Return a text from an image or a hub without characters that control a terminal or the direction of writing."""
    return "".join(
        character if character.isprintable() or character in "\n\u200d" else "�" for character in text
    )


def describe_unread(encoder: str, limit: int, text: str, start: int) -> str:
    """Return that a text encoder reads no further than to its limit of tokens, in a sentence.

    start: where in the text the first token begins that it does not read.
    """
    words = text[text.rfind(" ", 0, start + 1) + 1 :].split()
    quoted = " ".join(words[:MAX_QUOTED_WORDS])[:MAX_QUOTED]
    return f"{encoder} reads {limit} tokens of the text and ignores the rest, from '{quoted}' on"
