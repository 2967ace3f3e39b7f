"""Validation of untrusted values of any type."""

import datetime
import json
from typing import Any

import pytest

from autolora.hubs.validation import (
    clean_text,
    clean_texts,
    format_time,
    is_repo_id,
    is_safe_path,
    parse_time,
    short_repr,
    tag_value,
    valid_bool,
    valid_count,
    valid_sha256,
)
from autolora.wording import printable

UNEXPECTED = [
    None,
    True,
    3,
    -1,
    10**30,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    "text",
    "",
    [],
    {},
    [None],
    {"a": 1},
]
FUNCTIONS = (
    clean_text,
    clean_texts,
    valid_count,
    valid_bool,
    valid_sha256,
    parse_time,
    short_repr,
    is_safe_path,
    is_repo_id,
)


@pytest.mark.parametrize("value", UNEXPECTED, ids=repr)
def test_no_value_raises(value: Any) -> None:
    for function in FUNCTIONS:
        function(value)


def test_counts_are_bounded_integers_and_flags_are_booleans() -> None:
    counts = [0, 1, 1 << 53, (1 << 53) + 1, -1, 1.0, True, "1", None]
    assert [valid_count(value) for value in counts] == [0, 1, 1 << 53, *([None] * 6)]
    flags = [True, False, 0, 1, "true", None]
    assert [valid_bool(value) for value in flags] == [True, False, *([None] * 4)]


@pytest.mark.parametrize(
    "path", ["../x.safetensors", "/etc/x", "a/../../b", "a//b", "./a", "a\\b", "", "a\nb", "x" * 501, None, 3]
)
def test_rejects_unsafe_paths(path: Any) -> None:
    assert not is_safe_path(path)


def test_emoji_may_be_joined_and_nothing_else_is_invisible() -> None:
    family, rainbow = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308"
    for name in (f"{family}.safetensors", f"a/{rainbow} style.safetensors"):
        assert is_safe_path(name) and printable(name) == name
    for name in (
        "c\u200dat",
        "ко\u200dт",
        "\u200d",
        "\u200dcat",
        "cat\u200d",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "\x1b[2J",
        "\x7f",
    ):
        assert not is_safe_path(name)


def test_recognizes_repository_ids() -> None:
    assert is_repo_id("ann/ink-1.0_b")
    for value in (
        "ann",
        "ann/ink/x",
        "../ink",
        "ann/..",
        "ann/i nk",
        "ann/ìnk",
        "a" * 97 + "/b",
        "ann/ink\n",
        5,
    ):
        assert not is_repo_id(value)


def test_cleaned_texts_are_one_printable_line() -> None:
    hostile = json.loads('"a\\ud800\\u2028b\\u0000\\u001b[2Jc \\n d"')
    assert clean_text(hostile) == "a b [2Jc d"
    assert clean_text("x" * 9999) == "x" * 2000
    assert clean_text(" \n ") is None and clean_text(5) is None
    assert clean_texts(["a", 3, "a", " b "]) == ("a", "b") and clean_texts("TOK") == ("TOK",)
    assert len(clean_texts([str(number) for number in range(99)])) == 20
    assert tag_value([None, 5, "license:mit", "license:x"], "license:") == "mit"
    assert tag_value(["license:"], "license:") is None


def test_hashes_are_64_lower_case_hex_digits() -> None:
    assert valid_sha256("A" * 64) == "a" * 64
    assert [valid_sha256(value) for value in ("g" * 64, "a" * 63, "a" * 65, "", None)] == [None] * 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        (1767323045, "2026-01-02T03:04:05Z"),
        (1767323045.9, "2026-01-02T03:04:05Z"),
        (1767323045000, "2026-01-02T03:04:05Z"),
    ],
)
def test_parses_times_to_utc(value: Any, expected: str) -> None:
    time = parse_time(value)
    assert time is not None and time.tzinfo is datetime.UTC and format_time(time) == expected


@pytest.mark.parametrize(
    "value",
    ["yesterday", "1970-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2" * 99, 1, -5, 1e300],
)
def test_rejects_invalid_times(value: Any) -> None:
    assert parse_time(value) is None


def test_short_repr_is_short_and_printable() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert short_repr(deep) == "a very deep list"
    assert short_repr("\x1b[2J\ud800") == r"'\x1b[2J\ud800'"
    assert len(short_repr("x" * 9999)) == 100
    while deep:
        (deep,) = deep or [[]]
