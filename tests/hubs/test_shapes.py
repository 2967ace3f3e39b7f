"""The comparison of answers by shape, and the files of answers."""

from typing import Any

import pytest

from tests.hubs.shapes import ANSWERS, differences, read_answer

NAMES = sorted(path.relative_to(ANSWERS).with_suffix("").as_posix() for path in ANSWERS.rglob("*.json"))


@pytest.mark.parametrize(
    ("expected", "actual", "lines"),
    [
        ({"a": 1}, {"a": 2.5}, []),
        ({"a": 1}, {"a": "1"}, [".a: expected number, got string"]),
        ({"a": True}, {"a": 1}, [".a: expected boolean, got number"]),
        ({"a": None}, {"a": [1]}, []),
        ({"a": {"b": 1}}, {"a": None}, []),
        ({"a": 1}, {}, [".a: missing"]),
        ({}, {"a": 1}, [".a: unknown"]),
        ([{"a": 1}, {"a": 1, "b": 1}], [{"a": 1}], []),
        ([{"a": 1}, {"a": 1, "b": 1}], [{"b": "1"}], ["[].a: missing", "[].b: expected number, got string"]),
        (
            [{"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}],
            [{"a": [{"b": 3, "c": 4}, {"c": 4}]}],
            ["[].a[].b: missing"],
        ),
        ([1], ["a", 2], ["[]: expected number, got string"]),
        ([], [{"a": 1}], []),
        ([1], {}, [".: expected list, got object"]),
        ({"card": {"a": 1}}, {"card": {"b": 1}}, [".card.a: missing", ".card.b: unknown"]),
    ],
)
def test_differences_of_shape(expected: Any, actual: Any, lines: list[str]) -> None:
    assert differences(expected, actual) == lines


def test_objects_of_free_keys_may_have_any_fields() -> None:
    assert differences({"x": {"card": {"a": 1}}}, {"x": {"card": {"b": "c"}}}, frozenset({"card"})) == []
    assert differences({"card": {"a": 1}}, {"card": [1]}, frozenset({"card"})) == [
        ".card: expected object, got list"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_has_a_request_and_a_source(name: str) -> None:
    answer = read_answer(name)
    assert answer.request.split(" ")[0] in ("GET", "HEAD", "POST", "PUT") and len(answer.source) > 20
    assert differences(answer.body, answer.body, answer.free) == []
