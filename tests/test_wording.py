"""Words for numbers, and for texts that are not read to their end."""

from autolora.wording import counted, describe_unread


def test_numbers_of_things_have_their_plural() -> None:
    assert [counted(number, "adapter") for number in (0, 1, 1000)] == [
        "0 adapters",
        "1 adapter",
        "1,000 adapters",
    ]
    assert [counted(number, "query", "queries") for number in (1, 2)] == ["1 query", "2 queries"]


def test_of_a_text_that_is_not_read_its_next_words_are_quoted() -> None:
    text = "a cat " + "on a sofa " * 300
    sentence = "CLIP reads 4 tokens of the text and ignores the rest, from 'sofa on a sofa on' on"
    assert describe_unread("CLIP", 4, text, text.index("sofa") + 2) == sentence
    assert len(describe_unread("T5", 4, "猫" * 2000, 9)) < 120
