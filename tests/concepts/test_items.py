"""Captions, and the record of what is skipped."""

import pytest

from autolora.concepts.items import MAX_CAPTION_CHARS, MAX_NAMED, Skipped, clean_caption
from autolora.errors import RefusedFile


def test_only_the_first_of_each_reason_are_named(caplog: pytest.LogCaptureFixture) -> None:
    skipped = Skipped()
    for number in range(3 * MAX_NAMED):
        skipped.add("no-caption", f"{number}.png", "no text")
    skipped.add("damaged-file", "s.tar\ud800", "its name is \x1b[31m\udcff" + "x" * 5000)
    assert skipped.counts == {"no-caption": 3 * MAX_NAMED, "damaged-file": 1}
    assert list(skipped.named) == [*(f"{number}.png" for number in range(MAX_NAMED)), "s.tar\ufffd"]
    assert len(caplog.records) == MAX_NAMED + 1
    assert all(text.isprintable() and len(text) < 2000 for text in skipped.named.values())


@pytest.mark.parametrize("value", [None, 3, "", " \n", "\x00\x1b", [], [None, " "], {"en": "a cat"}])
def test_captions_without_text_are_refused(value: object) -> None:
    with pytest.raises(RefusedFile, match="the caption is empty or not a text"):
        clean_caption(value)


def test_captions_are_one_printable_line_of_bounded_length() -> None:
    assert clean_caption("a\x00 cat\r\n\tin\ud800 snow ") == "a cat in snow"
    assert len(clean_caption("word " * 10_000)) <= MAX_CAPTION_CHARS
