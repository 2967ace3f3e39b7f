"""Words for numbers."""

from autolora.wording import counted


def test_numbers_of_things_have_their_plural() -> None:
    assert [counted(number, "adapter") for number in (0, 1, 1000)] == [
        "0 adapters",
        "1 adapter",
        "1,000 adapters",
    ]
    assert [counted(number, "query", "queries") for number in (1, 2)] == ["1 query", "2 queries"]
