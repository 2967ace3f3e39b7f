"""Answers of the hubs as files, and their comparison by shape: the same keys, with values of the same types."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_httpserver import HTTPServer

ANSWERS = Path(__file__).parent / "answers"
"""one JSON file per answer, written after the public code that sends or reads such answers"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a hub."""

    request: str
    """method and path of a request that gets it"""
    source: str
    """the public code or document that defines its shape"""
    status: int
    headers: dict[str, str]
    body: Any
    free: frozenset[str]
    """keys whose objects may have any fields, such as a model card"""


def read_answer(name: str) -> Answer:
    """Return an answer, e.g. `civitai/models`. Raises KeyError if the file has no request or source."""
    content = json.loads((ANSWERS / f"{name}.json").read_text())
    return Answer(
        content["request"],
        content["source"],
        content.get("status", 200),
        content.get("headers", {}),
        content["body"],
        frozenset(content.get("free", ())),
    )


def serve(server: HTTPServer, name: str, prefix: str = "") -> Answer:
    """Send an answer to requests for its path, below `prefix`, and return it; links lead to the server."""
    answer = read_answer(name)
    path = answer.request.split(" ")[1].partition("?")[0]
    url = server.url_for("").rstrip("/")
    headers = {key: re.sub(r"https://[^/]+", url, value) for key, value in answer.headers.items()}
    server.expect_request(prefix + path).respond_with_json(answer.body, answer.status, headers)
    return answer


def differences(expected: Any, actual: Any, free: frozenset[str] = frozenset(), path: str = "") -> list[str]:
    """Return one line per key that only one of two JSON values has, and per value of another type.

    Values of one list count as alternatives: a key that some of its objects do not have is optional. Null has any type.
    """
    if expected is None or actual is None:
        return []
    if _kind(expected) != _kind(actual):
        return [f"{path or '.'}: expected {_kind(expected)}, got {_kind(actual)}"]
    if isinstance(expected, list):
        samples = [sample for sample in expected if sample is not None]
        lines = [line for item in actual for line in _compare_item(samples, item, free, f"{path}[]")]
        return list(dict.fromkeys(lines))
    return _compare_objects([expected], actual, free, path) if isinstance(expected, dict) else []


def _compare_item(samples: list[Any], item: Any, free: frozenset[str], path: str) -> list[str]:
    """Compare an item of a list with the sample items."""
    if samples and isinstance(item, dict) and all(isinstance(sample, dict) for sample in samples):
        return _compare_objects(samples, item, free, path)
    return min((differences(sample, item, free, path) for sample in samples), key=len, default=[])


def _compare_objects(
    samples: list[dict[str, Any]], actual: dict[str, Any], free: frozenset[str], path: str
) -> list[str]:
    """Compare an object with samples; a key that every sample has is required, one that no sample has is unknown."""
    if path.rpartition(".")[2].removesuffix("[]") in free:
        return []
    known = {key for sample in samples for key in sample}
    required = {key for key in known if all(key in sample for sample in samples)}
    lines = [f"{path}.{key}: missing" for key in sorted(required - actual.keys())]
    lines += [f"{path}.{key}: unknown" for key in sorted(actual.keys() - known)]
    for key in sorted(known & actual.keys()):
        values = [sample[key] for sample in samples if sample.get(key) is not None]
        if all(isinstance(value, list) for value in values):
            values = [[item for value in values for item in value]] if values else []
        lines += _compare_item(values, actual[key], free, f"{path}.{key}")
    return lines


def _kind(value: Any) -> str:
    """Return the JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "number", float: "number", str: "string", list: "list", dict: "object", type(None): "null"}
    return kinds[type(value)]
