"""What is kept of an answer."""

import pytest

from autolora.errors import ImageFailed
from autolora.vlm.answers import checked_caption


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A red house. It has a blue door. The ro", "A red house. It has a blue door."),
        ("A red house. It has a blue door.", "A red house. It has a blue door."),
        ("A sign says “Stop!” A man of 3.5", "A sign says “Stop!”"),
        ("一座红色的房子。门是蓝", "一座红色的房子。"),
        ("a red house by a blu", "a red house by a"),
        ("1. A red house with a 2.5 m wall", "1. A red house with a 2.5 m"),
        ("a\nred  house wi", "a red house"),
        ("house", "house"),
        ("3 houses", "3 houses"),
        ("a red house with a \ufffd", "a red house with a"),
        ("a caf\ufffd\ufffd", "a"),
    ],
)
def test_cut_answer_ends_with_its_last_whole_sentence_or_word(text: str, kept: str) -> None:
    assert checked_caption(text, cut=True) == kept


def test_whole_answer_is_kept_as_it_is() -> None:
    assert checked_caption("A red house. It has a blue\n door") == "A red house. It has a blue door"
    with pytest.raises(ImageFailed, match="expected a text"):
        checked_caption("a caf\ufffd")


@pytest.mark.parametrize("text", ["", "\ufffd", "a\ufffdb c", "..."])
def test_cut_answer_without_a_text_is_refused(text: str) -> None:
    with pytest.raises(ImageFailed, match="expected a text"):
        checked_caption(text, cut=True)
