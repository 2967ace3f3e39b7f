"""What authors say about their LoRAs, as short texts from untrusted values."""

from typing import Any

import pytest

from autolora.hubs.descriptions import MAX_CHARS, MAX_TAGS, describe


def test_title_tags_and_text() -> None:
    text = "<p>Makes everything look folded from <b>paper</b>.</p><br/>See https://example.org/x &amp; enjoy"
    assert describe(" Origami\n", ["paper", "flux", "base_model:x/y", "paper", "folded toys"], text) == (
        "Origami",
        "paper, folded toys",
        "Makes everything look folded from paper. See & enjoy",
    )


def test_texts_with_a_path_of_a_machine_are_left_out() -> None:
    assert describe("ink", ["ok"], "trained from /home/ann/faces") == ("ink", "ok")
    assert describe("C:\\Users\\ann", ["a", "/mnt/x/y"], None) == ()


def test_equal_tags_count_once_and_comparisons_are_no_markup() -> None:
    assert describe(None, ["Style"] * 30 + ["cat"], "faces <3 love > x") == (
        "Style, cat",
        "faces <3 love > x",
    )


def test_a_text_is_said_once() -> None:
    assert describe("ink", ["ink"], "<i>ink</i>") == ("ink",)


@pytest.mark.parametrize("value", [None, 3, "", " \n", ["x"], {"a": 1}, "\x1b\x07"])
def test_other_values_are_missing(value: Any) -> None:
    assert describe(value, [value], value) == ()


def test_a_long_text_ends_at_a_word() -> None:
    (text,) = describe(None, (), "word " * 10_000)
    assert text.endswith("word …") and len(text) <= MAX_CHARS + 2


def test_many_tags_are_cut() -> None:
    (tags,) = describe(None, [f"tag{number}" for number in range(1000)])
    assert len(tags.split(", ")) == MAX_TAGS


def test_a_text_without_spaces_is_cut() -> None:
    assert describe(None, (), "<" * 1_000_000) == ("<" * MAX_CHARS + " …",)
