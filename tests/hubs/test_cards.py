"""What a repository's card may say, and what is made of it."""

import json
from typing import Any

import pytest

from autolora.hubs.cards import clean, is_safe, read_card

ENDPOINT = "http://hub"
SHA = "a" * 40


def item(**changes: Any) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in ("lora.safetensors", "images/1.png", "images/a b.png")]
    return {"id": "ann/ink", "sha": SHA, "siblings": siblings, "cardData": {}, "tags": []} | changes


def card(**data: Any) -> Any:
    return read_card(item(cardData=data), ENDPOINT)


@pytest.mark.parametrize(
    "path", ["../x.safetensors", "/etc/x", "a/../../b", "a//b", "./a", "a\\b", "", "a\nb", "x" * 501, None, 3]
)
def test_hostile_names_are_no_files(path: Any) -> None:
    assert not is_safe(path)
    siblings = [{"rfilename": path}, {"rfilename": "lora.safetensors"}, "no object", {}]
    assert read_card(item(siblings=siblings), ENDPOINT).files == {"lora.safetensors"}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../up"}, {"id": "a/.."}, {"id": "a"}, {"id": "a/b/c"}, {"id": None},
        {"sha": "main"}, {"sha": None}, {"siblings": None}, {"siblings": {}},
    ],
)  # fmt: skip
def test_a_repository_without_id_commit_or_files_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_card(item(**changes), ENDPOINT)


@pytest.mark.parametrize(
    "data", [None, [], "text", {"license": 3, "widget": {}, "tags": {}, "base_model": [1]}]
)
def test_what_has_the_wrong_type_was_not_said(data: Any) -> None:
    found = read_card(item(cardData=data, tags=[7, None]), ENDPOINT)
    assert (found.licence, found.base_model, found.trigger_words, found.pictures) == (None, None, (), ())


def test_labels() -> None:
    found = card(
        license="mit", base_model=["a/b", "c/d"], instance_prompt="TOK", tags=["not-for-all-audiences"]
    )
    assert (found.licence, found.base_model, found.trigger_words, found.nsfw) == (
        "mit",
        "a/b",
        ("TOK",),
        True,
    )
    assert card(license="other", license_name="flux-1-dev").licence == "flux-1-dev"
    tagged = read_card(item(tags=["license:mit", "base_model:adapter:x/y"]), ENDPOINT)
    assert (tagged.licence, tagged.base_model, tagged.nsfw) == ("mit", "x/y", False)


def test_only_pictures_in_the_repository_are_shown() -> None:
    urls = [
        "images/1.png", "./images/1.png", "images/a%20b.png", "https://elsewhere.org/1.png", "../1.png",
        f"{ENDPOINT}/ann/ink/resolve/main/images/1.png", "lora.safetensors", 5, None,
    ]  # fmt: skip
    widget = [{"text": f"picture {n}", "output": {"url": url}} for n, url in enumerate(urls)]
    shown = card(widget=[*widget, {}, "text", {"output": "no"}]).pictures
    assert [path for path, _ in shown] == ["images/1.png", "images/a b.png"]


@pytest.mark.parametrize("flag", ["private", "gated", "disabled"])
def test_what_needs_a_permission_is_closed(flag: str) -> None:
    assert read_card(item(**{flag: "manual"}), ENDPOINT).closed
    assert not read_card(item(**{flag: False}), ENDPOINT).closed


def test_texts_are_one_printable_line() -> None:
    hostile = json.loads('"a\\ud800\\u2028b\\u0000\\u001b[2Jc \\n d"')
    assert clean(hostile) == "a b [2Jc d"
    assert clean("x" * 9999) == "x" * 2000
    assert clean(" \n ") is None and clean(5) is None
