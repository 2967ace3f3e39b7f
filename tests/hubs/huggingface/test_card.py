"""Parsing of repository entries and model cards."""

import datetime
from typing import Any

import pytest

from autolora.hubs.huggingface.card import Card, parse_card

URL = "http://hub"
SHA = "a" * 40


def item(**changes: Any) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in ("lora.safetensors", "images/1.png", "images/a b.png")]
    date = "2026-01-02T03:04:05.000Z"
    return {
        "id": "ann/ink", "sha": SHA, "siblings": siblings, "cardData": {}, "tags": [], "lastModified": date,
    } | changes  # fmt: skip


def card(**data: Any) -> Card:
    return parse_card(item(cardData=data), URL)


def test_skips_files_with_unsafe_names() -> None:
    siblings = [
        {"rfilename": path} for path in ("../x.safetensors", "/etc/x", "", None, 3, "lora.safetensors")
    ]
    assert parse_card(item(siblings=[*siblings, "not an object", {}, None]), URL).files == {
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
def test_rejects_a_repository_without_id_commit_files_or_date(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse_card(item(**changes), URL)


@pytest.mark.parametrize(
    "data", [None, [], "text", {"license": 3, "widget": {}, "tags": {}, "base_model": [1]}]
)
def test_card_fields_of_a_wrong_type_count_as_missing(data: Any) -> None:
    parsed = parse_card(item(cardData=data, tags=[7, None], downloads="9"), URL)
    assert (parsed.license, parsed.base_model, parsed.trigger_words, parsed.images) == (None, None, (), ())
    assert (parsed.downloads, parsed.nsfw) == (None, False)


def test_reads_labels_from_card_and_tags() -> None:
    parsed = card(
        license="mit", base_model=["a/b", "c/d"], instance_prompt="TOK", tags=["not-for-all-audiences"]
    )
    assert (parsed.license, parsed.base_model, parsed.trigger_words, parsed.nsfw) == (
        "mit",
        "a/b",
        ("TOK",),
        True,
    )
    assert card(license="other", license_name="flux-1-dev").license == "flux-1-dev"
    tagged = parse_card(item(tags=["license:mit", "base_model:adapter:x/y"], downloads=7), URL)
    assert (tagged.license, tagged.base_model, tagged.nsfw, tagged.downloads) == ("mit", "x/y", False, 7)
    assert tagged.updated == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_lists_only_images_in_the_repository() -> None:
    urls = [
        "images/1.png", "./images/1.png", "images/a%20b.png", "https://elsewhere.org/1.png", "../1.png",
        f"{URL}/ann/ink/resolve/main/images/1.png", "lora.safetensors", 5, None,
    ]  # fmt: skip
    widget = [{"text": f"image {n}", "output": {"url": url}} for n, url in enumerate(urls)]
    images = card(widget=[*widget, {}, "text", {"output": "no"}]).images
    assert [path for path, _ in images] == ["images/1.png", "images/a b.png"]


@pytest.mark.parametrize("name", ["private", "gated", "disabled"])
def test_access_fields_mark_a_repository_as_restricted(name: str) -> None:
    assert parse_card(item(**{name: "manual"}), URL).restricted
    assert not parse_card(item(**{name: False}), URL).restricted
    for invalid in (7, 0, [], {"a": 1}):
        with pytest.raises(ValueError, match="expected true, false, null"):
            parse_card(item(**{name: invalid}), URL)
