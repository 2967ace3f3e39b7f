"""What is made of a stranger's values, whatever they are."""

import datetime
import json
from typing import Any

import pytest

from autolora.hubs.validation import (
    clean,
    clean_all,
    count,
    flag,
    glimpse,
    is_repo_id,
    is_safe,
    moment,
    sha256,
    stamp,
    tagged,
)

ODD = [
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


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_nothing_is_too_odd(value: Any) -> None:
    for check in (clean, clean_all, count, flag, sha256, moment, glimpse, is_safe, is_repo_id):
        check(value)


def test_numbers_are_whole_and_bounded() -> None:
    values = [0, 1, 1 << 53, (1 << 53) + 1, -1, 1.0, True, "1", None]
    assert [count(value) for value in values] == [0, 1, 1 << 53, None, None, None, None, None, None]
    assert [flag(value) for value in (True, False, 0, 1, "true", None)] == [
        True,
        False,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "path", ["../x.safetensors", "/etc/x", "a/../../b", "a//b", "./a", "a\\b", "", "a\nb", "x" * 501, None, 3]
)
def test_hostile_names_are_no_files(path: Any) -> None:
    assert not is_safe(path)


def test_repository_ids() -> None:
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


def test_texts_are_one_printable_line() -> None:
    hostile = json.loads('"a\\ud800\\u2028b\\u0000\\u001b[2Jc \\n d"')
    assert clean(hostile) == "a b [2Jc d"
    assert clean("x" * 9999) == "x" * 2000
    assert clean(" \n ") is None and clean(5) is None
    assert clean_all(["a", 3, "a", " b "]) == ("a", "b") and clean_all("TOK") == ("TOK",)
    assert len(clean_all([str(number) for number in range(99)])) == 20
    assert tagged([None, 5, "license:mit", "license:x"], "license:") == "mit"
    assert tagged(["license:"], "license:") is None


def test_hashes() -> None:
    assert sha256("A" * 64) == "a" * 64
    assert [sha256(value) for value in ("g" * 64, "a" * 63, "a" * 65, "", None)] == [None] * 5


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        (1767323045, "2026-01-02T03:04:05Z"),
        (1767323045.9, "2026-01-02T03:04:05Z"),
        (1767323045000, "2026-01-02T03:04:05Z"),
    ],
)
def test_times(value: Any, time: str) -> None:
    found = moment(value)
    assert found is not None and found.tzinfo is datetime.UTC and stamp(found) == time


@pytest.mark.parametrize(
    "value",
    ["yesterday", "1970-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2" * 99, 1, -5, 1e300],
)
def test_times_that_are_none(value: Any) -> None:
    assert moment(value) is None


def test_a_glimpse_is_short_and_printable() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert glimpse(deep) == "a very deep list"
    assert glimpse("\x1b[2J\ud800") == r"'\x1b[2J\ud800'"
    assert len(glimpse("x" * 9999)) == 100
    while deep:
        (deep,) = deep or [[]]
