"""Sidecars: their fields, invalid fields, and LoRA files that are skipped because of their sidecar."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from autolora.hubs.folder.sidecar import MAX_SIDECAR_BYTES, parse_sidecar
from tests.hubs.folder.lora_folder import TIME, crawl, first_page, write


def test_sidecar_describes_its_file(root: Path) -> None:
    write(root, "a/ink.safetensors")
    write(root, "a/images/1.png", b"one")
    write(root, "a/images/2.png", b"two")
    sidecar = {
        "license": "mit", "base_model": "black-forest-labs/FLUX.1-dev", "trigger_words": ["TOK", "TOK"],
        "nsfw_level": "soft", "person": True, "minor": False,
        "renderings": ["images/1.png", {"path": "images/2.png", "prompt": "a cat", "nsfw_level": "mature"}],
    }  # fmt: skip
    write(root, "a/ink.json", sidecar, TIME + 60)
    ink = crawl(root)["a/ink"]
    assert (ink.license, ink.base, ink.permissions.commercial) == ("mit", "flux.1-dev", True)
    assert (ink.trigger_words, ink.nsfw_level, ink.nsfw) == (("TOK",), "soft", False)
    assert (ink.person, ink.minor) == (True, False)
    assert [(image.url, image.prompt, image.nsfw_level) for image in ink.renderings] == [
        ("folder:a/images/1.png", None, "soft"),
        ("folder:a/images/2.png", "a cat", "mature"),
    ]
    assert [image.sha256 for image in ink.renderings] == [
        hashlib.sha256(content).hexdigest() for content in (b"one", b"two")
    ]
    assert ink.updated == "2026-01-02T03:05:05Z"


def test_skips_a_file_with_two_sidecars(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.json", {"person": False})
    write(root, "ink.JSON", {"person": True})
    page = first_page(root)
    assert not page.models and "more than one sidecar" in page.problems[0]


@pytest.mark.parametrize(
    ("field", "value"), [("nsfw_level", "high"), ("nsfw_level", []), ("person", "yes"), ("minor", 1)]
)
def test_skips_a_file_with_an_invalid_safety_field(root: Path, field: str, value: Any) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.json", {"license": "mit", field: value})
    page = first_page(root)
    assert not page.models and field in page.problems[0] and "was skipped" in page.problems[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("license", 3), ("license", ""), ("base_model", ["x"]), ("trigger_words", "TOK"),
        ("renderings", "a.png"), ("renderings", [3]),
        ("renderings", ["../a.png"]), ("renderings", ["a.exe"]), ("renderings", [{"prompt": "x"}]), ("liscence", "mit"),
    ],
)  # fmt: skip
def test_other_invalid_fields_are_reported_and_count_as_missing(root: Path, field: str, value: Any) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.json", {"license": "mit", field: value})
    (problem,) = first_page(root).problems
    assert problem.startswith("'ink.json': ") and field in problem
    assert crawl(root)["ink"].license == (None if field == "license" else "mit")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "<html>", b"\xff\xfe", "[" * 99_999, " " * (MAX_SIDECAR_BYTES + 1)],
    ids=["empty", "cut", "list", "null", "HTML", "no UTF-8", "deep", "too large"],
)
def test_skips_a_file_whose_sidecar_is_unreadable(root: Path, text: str | bytes) -> None:
    """An unreadable sidecar may contain a field that a rule rejects."""
    write(root, "ink.safetensors")
    write(root, "neon.safetensors")
    write(root, "ink.json", text)
    (problem,) = first_page(root).problems
    assert problem.startswith("'ink.safetensors' was skipped: its sidecar ")
    assert crawl(root).keys() == {"neon"}


def test_null_counts_as_missing() -> None:
    sidecar, problems = parse_sidecar(b'{"license": null, "renderings": null, "person": null}')
    assert (sidecar.license, sidecar.renderings, sidecar.person, problems) == (None, None, None, ())


@pytest.mark.parametrize("kind", ["pipe", "folder", "out", "linked folder", "broken"])
def test_skips_a_file_whose_sidecar_is_not_a_regular_file_inside(root: Path, kind: str) -> None:
    write(root, "ink.safetensors")
    write(root.parent, "outside.json", {"license": "mit"})
    create = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "out": lambda path: path.symlink_to(root.parent / "outside.json"),
        "linked folder": lambda path: path.symlink_to(root),
        "broken": lambda path: path.symlink_to("nowhere"),
    }[kind]
    create(root / "ink.json")
    page = first_page(root)
    assert not page.models
    assert any("'ink.safetensors' was skipped" in problem for problem in page.problems)
