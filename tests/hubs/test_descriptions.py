"""What authors say about their LoRAs, as short texts from untrusted values."""

from typing import Any

import pytest

from autolora.hubs.descriptions import MAX_CHARS, MAX_TAGS, describe, leave_out_shared


def test_title_tags_and_text() -> None:
    text = "<p>Makes everything look folded from <b>paper</b>.</p><br/>See https://example.org/x &amp; enjoy"
    assert describe(" Origami\n", ["paper", "flux", "base_model:x/y", "paper", "folded toys"], text) == (
        "Origami",
        "paper, folded toys",
        "Makes everything look folded from paper. See & enjoy",
    )


def test_an_address_ends_with_its_tag_and_a_paragraph_ends_a_sentence() -> None:
    text = (
        '<p>Ink by <a href="https://x.org/a?b=1>2" rel="ugc nofollow">Ann</a></p><p>from https://x.org/c</a></p>'
        "<h2>Amber</h2><img alt='a > b' src=\"https://x.org/d.png\" />"
        "<ul><li>on paper, see www.x.org.</li></ul>Dry\nbrush"
    )
    assert describe(None, (), text) == ("Ink by Ann. from. Amber. on paper, see. Dry brush",)


def test_boilerplate_is_left_out_before_a_text_is_cut() -> None:
    advertised = "<p>Please support my work on Patreon!</p>" * 100 + "<p>Posters of a YouTube channel.</p>"
    assert describe(None, (), advertised) == ("Posters of a YouTube channel.",)
    assert describe("Commission", (), "Follow me! Buy me a coffee. Buy me coffee!") == ("Commission",)


def test_sentences_that_three_adapters_share_are_left_out() -> None:
    advice = "Set the weight to 0.{} for best results."
    said = {
        name: ["Ink", "ink, art", f"{name} on paper. {advice.format(number)}"]
        for number, name in enumerate(("Amber", "Slate", "Coral"))
    }
    kept = leave_out_shared(said | {"near": ["A pen. Now set the weight to 1.0 for best results!"]})
    assert kept == {
        "Amber": ["Ink", "ink, art", "Amber on paper."],
        "Slate": ["Ink", "ink, art", "Slate on paper."],
        "Coral": ["Ink", "ink, art", "Coral on paper."],
        "near": ["A pen."],
    }


def test_what_two_share_and_versions_of_one_say_stays() -> None:
    version = ["Ink", "Drawings in ink."]
    assert leave_out_shared(dict.fromkeys("abcd", version)) == dict.fromkeys("abcd", version)
    two = {"a": ["Drawings in ink. One."], "b": ["Drawings in ink. Two."]}
    assert leave_out_shared(two) == two and leave_out_shared({}) == {}


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
