"""What a repository's card may say, and what is made of it."""

import datetime
from typing import Any

import pytest

from autolora.hubs.huggingface.card import Card, read_card

ENDPOINT = "http://hub"
SHA = "a" * 40


def item(**changes: Any) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in ("lora.safetensors", "images/1.png", "images/a b.png")]
    date = "2026-01-02T03:04:05.000Z"
    return {
        "id": "ann/ink", "sha": SHA, "siblings": siblings, "cardData": {}, "tags": [], "lastModified": date,
    } | changes  # fmt: skip


def card(**data: Any) -> Card:
    return read_card(item(cardData=data), ENDPOINT)


def test_files_with_hostile_names_are_left_out() -> None:
    siblings = [
        {"rfilename": path} for path in ("../x.safetensors", "/etc/x", "", None, 3, "lora.safetensors")
    ]
    assert read_card(item(siblings=[*siblings, "no object", {}, None]), ENDPOINT).files == {
        "lora.safetensors"
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../up"}, {"id": "a/.."}, {"id": "a"}, {"id": "a/b/c"}, {"id": None}, {"id": ["a/b"]},
        {"sha": "main"}, {"sha": None}, {"sha": 10**39}, {"siblings": None}, {"siblings": {}},
        {"lastModified": None}, {"lastModified": "yesterday"}, {"lastModified": 10**30},
    ],
)  # fmt: skip
def test_a_repository_without_id_commit_files_or_date_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_card(item(**changes), ENDPOINT)


@pytest.mark.parametrize(
    "data", [None, [], "text", {"license": 3, "widget": {}, "tags": {}, "base_model": [1]}]
)
def test_what_has_the_wrong_type_was_not_said(data: Any) -> None:
    found = read_card(item(cardData=data, tags=[7, None], downloads="9"), ENDPOINT)
    assert (found.license, found.base_model, found.trigger_words, found.pictures) == (None, None, (), ())
    assert (found.downloads, found.nsfw) == (None, False)


def test_labels() -> None:
    found = card(
        license="mit", base_model=["a/b", "c/d"], instance_prompt="TOK", tags=["not-for-all-audiences"]
    )
    assert (found.license, found.base_model, found.trigger_words, found.nsfw) == (
        "mit",
        "a/b",
        ("TOK",),
        True,
    )
    assert card(license="other", license_name="flux-1-dev").license == "flux-1-dev"
    tagged = read_card(item(tags=["license:mit", "base_model:adapter:x/y"], downloads=7), ENDPOINT)
    assert (tagged.license, tagged.base_model, tagged.nsfw, tagged.downloads) == ("mit", "x/y", False, 7)
    assert tagged.updated == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_only_pictures_in_the_repository_are_shown() -> None:
    urls = [
        "images/1.png", "./images/1.png", "images/a%20b.png", "https://elsewhere.org/1.png", "../1.png",
        f"{ENDPOINT}/ann/ink/resolve/main/images/1.png", "lora.safetensors", 5, None,
    ]  # fmt: skip
    widget = [{"text": f"picture {n}", "output": {"url": url}} for n, url in enumerate(urls)]
    shown = card(widget=[*widget, {}, "text", {"output": "no"}]).pictures
    assert [path for path, _ in shown] == ["images/1.png", "images/a b.png"]


@pytest.mark.parametrize("name", ["private", "gated", "disabled"])
def test_what_needs_a_permission_is_closed(name: str) -> None:
    assert read_card(item(**{name: "manual"}), ENDPOINT).closed
    assert not read_card(item(**{name: False}), ENDPOINT).closed
    for odd in (7, 0, [], {"a": 1}):
        with pytest.raises(ValueError, match="says neither yes nor no"):
            read_card(item(**{name: odd}), ENDPOINT)
