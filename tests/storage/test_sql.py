"""Conditions as SQL text."""

from autolora.storage.sql import is_one_of, quote


def test_quotes_in_texts_are_doubled() -> None:
    assert quote("it's") == "'it''s'"
    assert is_one_of("license", ["mit", "x') OR ('1'='1"]) == "license IN ('mit', 'x'') OR (''1''=''1')"


def test_no_row_has_one_of_no_values() -> None:
    assert is_one_of("license", []) == "false"
