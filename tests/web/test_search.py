"""Searches by prompt, by adapter, and of everything; filters, details and what is hidden."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from autolora.encoder.tags import describe_tags
from autolora.index.served import open_index
from autolora.index.store import CAPTION
from autolora.index.tags import read_tags
from autolora.params import load
from autolora.web.query import Search
from autolora.web.rendering import _environment
from autolora.web.site import open_site
from tests.support.small_root import THEMES
from tests.web.conftest import NSFW


def search(client: httpx2.Client, **query: Any) -> list[dict[str, Any]]:
    """Return the adapters that a search finds."""
    adapters: list[dict[str, Any]] = (
        client.get("/api/search", params=query).raise_for_status().json()["adapters"]
    )
    return adapters


def test_the_first_hit_is_of_the_requested_theme(client: httpx2.Client, spoken: httpx2.Client) -> None:
    first = {theme: search(spoken, q=f"a {theme}", k=1)[0]["id"] for theme in THEMES}
    assert {theme: id.partition("/")[2] for theme, id in first.items()} == {theme: theme for theme in THEMES}
    hits = search(client, q="a rocket", k=3)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_page_and_api_find_the_same(client: httpx2.Client) -> None:
    hits = search(client, q="a mosaic", k=4)
    page = client.get("/parts/results", params={"q": "a mosaic", "k": 4}).text
    places = [page.index(f'data-sha256="{hit["sha256"]}"') for hit in hits]
    assert places == sorted(places) and page.count('class="card"') == 4


def test_cards_and_details_say_what_an_adapter_does(spoken: httpx2.Client, spoken_root: Path) -> None:
    hits, tags = search(spoken, q="a mosaic", k=4), read_tags(spoken_root)
    captions = {row["sha256"]: row.get(CAPTION) for row in open_index(spoken_root).rows}
    cards = unescape(spoken.get("/parts/results", params={"q": "a mosaic", "k": 4}).text)
    for hit in hits:
        likely = tuple(tag for tag in tags[hit["sha256"]] if tag.is_likely)
        assert captions[hit["sha256"]] or likely
        assert hit["does"] == (captions[hit["sha256"]] or f"by the weights: {describe_tags(likely)}")
        assert f'<span class="description">{hit["does"]}</span>' in cards
        assert f"<p>{hit['does']}</p>" in unescape(spoken.get(f"/parts/adapters/{hit['sha256']}").text)


def test_a_hub_of_this_machine_is_named_and_no_link(client: httpx2.Client) -> None:
    sha256 = search(client, q="a rocket", k=1)[0]["sha256"]
    drawer = client.get(f"/parts/adapters/{sha256}").text
    assert "from a hub on this machine, http://127.0.0.1" in drawer and "open on the hub" not in drawer
    assert "from a hub on this machine" in client.get("/", params={"adapter": sha256}).raise_for_status().text


def test_without_a_prompt_the_newest_come_first(client: httpx2.Client) -> None:
    days = [hit["first_seen"] for hit in search(client, k=12)]
    assert days == sorted(days, reverse=True) and len(set(days)) == 2


def test_adapters_that_are_not_safe_for_work_are_shown_on_request_only(client: httpx2.Client) -> None:
    assert NSFW not in [hit["id"] for hit in search(client, q="a neon", k=12)]
    (hit,) = [hit for hit in search(client, q="a neon", k=12, nsfw=1) if hit["id"] == NSFW]
    for image in hit["images"]:
        path = f"/images/{image}/320.webp"
        assert client.get(path).status_code == 404
        assert client.get(path, params={"nsfw": 1}).status_code == 200


def test_all_filters_apply(client: httpx2.Client) -> None:
    base: dict[str, Any] = {"k": 12, "nsfw": 1}
    assert len(search(client, **base)) == 12
    assert len(search(client, **base, license="mit", hub="huggingface", max_rank=2, max_mb=1)) == 12
    assert len(search(client, **base, since="2026-01-02")) == 4
    for none in ({"max_rank": 1}, {"person": "yes"}, {"may_sell": 1}, {"derivatives": 1}, {"base": "flux.2"}):
        assert search(client, **base, **none) == []


def test_a_page_without_results_says_so_and_offers_to_clear_the_filters(client: httpx2.Client) -> None:
    page = client.get("/", params={"q": "a cat", "max_rank": 1}).text
    assert "No adapter passes these filters" in page and '<a href="/?q=a+cat">Clear the filters</a>' in page


@pytest.mark.parametrize(
    "query",
    [{"max_rank": "many"}, {"k": 0}, {"since": "yesterday"}, {"q": "a" * 1001}, {"like": "../../etc"}],
)
def test_invalid_queries_name_the_parameter(client: httpx2.Client, query: dict[str, Any]) -> None:
    (name,) = query
    answer = client.get("/api/search", params=query)
    assert answer.status_code == 422 and answer.json()["error"].startswith(f"{name}: ")
    page = client.get("/", params=query)
    assert page.status_code == 422 and f"{name}: " in page.text


def test_a_prompt_that_is_too_long_is_said_to_be_and_not_cut(client: httpx2.Client) -> None:
    page = client.get("/parts/results", params={"q": "cat " * 300})
    assert page.status_code == 422 and "the text has more than 1,000 characters: shorten it" in page.text
    for path in ("/", "/generate"):
        lengths = [int(length) for length in re.findall('maxlength="([0-9]+)"', client.get(path).text)]
        assert lengths and min(lengths) > 1000


def test_a_prompt_that_is_not_read_to_its_end_says_so(client: httpx2.Client) -> None:
    query = {"q": "a cat " * 100}
    sentence = client.get("/api/search", params=query).json()["unread"]
    assert sentence.startswith("CLIP reads ") and len(sentence) < 120
    assert unescape(client.get("/parts/results", params=query).text).count(sentence) == 1
    assert client.get("/api/search", params={"q": "a cat"}).json()["unread"] is None


@pytest.mark.parametrize(("name", "near"), [("maysell", "may_sell"), ("licence", "license")])
def test_an_unknown_parameter_of_the_api_is_named(client: httpx2.Client, name: str, near: str) -> None:
    answer = client.get("/api/search", params={name: "1", "q": "a cat"})
    assert answer.status_code == 422
    assert answer.json()["error"] == f"{name}: there is no such parameter: did you mean {near}?"
    assert client.get("/", params={name: "1"}).status_code == 200


def test_what_the_api_takes_instead_is_listed(client: httpx2.Client) -> None:
    assert "give q, like, file, license" in client.get("/api/search?zzzz=1").json()["error"]
    assert client.get("/api/images?k=3").json()["error"].endswith("give none")
    assert client.post("/api/files?naem=a", content=b"x").json()["error"].endswith("did you mean name?")


def test_more_like_this_finds_the_family_first_and_not_the_adapter_itself(client: httpx2.Client) -> None:
    (hit,) = search(client, q="a cat", k=1)
    similar = search(client, like=hit["sha256"], k=12)
    assert hit["sha256"] not in [other["sha256"] for other in similar]
    assert similar[0]["score"] == max(other["score"] for other in similar)
    assert client.get("/api/search", params={"like": "0" * 64}).status_code == 404


def test_details_say_why_an_adapter_was_found(client: httpx2.Client) -> None:
    (hit,) = search(client, q="a cat", k=1)
    part = client.get(f"/parts/adapters/{hit['sha256']}", params={"q": "a cat"}).text
    assert "Why this one" in part and "<mark>cat</mark>" in part and "Nearest by weights" in part
    assert f'data-copy="{hit["id"]}"' in part and "&lt;lora:lora:1&gt;" in part
    assert "Why this one" not in client.get(f"/parts/adapters/{hit['sha256']}").text
    reasons = client.get(f"/api/adapters/{hit['sha256']}", params={"q": "a cat"}).json()["reasons"]
    assert reasons["words"] == ["cat"] and reasons["captions"]


def test_a_link_opens_the_page_with_the_details_of_an_adapter(client: httpx2.Client) -> None:
    (hit,) = search(client, q="a cat", k=1)
    page = client.get("/", params={"q": "a cat", "adapter": hit["sha256"]}).raise_for_status().text
    assert "Why this one" in page and "data-open" in page and "More like this" in page
    gone = client.get("/", params={"adapter": "0" * 64}).raise_for_status().text
    assert "Not in this index" in gone and "data-open" in gone


def test_what_does_not_fit_comes_under_a_heading_of_its_own(client: httpx2.Client, root: Path) -> None:
    site = open_site(root, load(root / "params.yaml"))
    site.follow()
    found = site.search(Search.model_validate({"q": "a rocket", "k": 4}))
    cards = [replace(card, level=level) for card, level in zip(found.cards, (3, 2, 1, 0), strict=True)]
    results = replace(found, cards=cards)
    assert results.sections == [("", cards[:2]), ("Less likely", cards[2:])]
    assert replace(found, cards=cards[:2]).sections == [("", cards[:2])]
    assert replace(found, cards=cards[2:]).sections == [("", cards[2:])]
    assert replace(found, cards=[]).sections == []
    assert "Less likely" not in client.get("/parts/results", params={"k": 12}).text


def test_the_python_lines_contain_the_prompt_of_the_visitor(client: httpx2.Client) -> None:
    (hit,) = search(client, q="a cat", k=1)
    path = f"/parts/adapters/{hit['sha256']}"
    assert "prompt = &#39;a cat at night&#39;" in client.get(path, params={"q": "a cat at night "}).text
    assert f"prompt = &#39;{hit['trigger_words'][0]}&#39;" in client.get(path).text


@pytest.mark.parametrize(
    ("license", "text"),
    [("other", "license: other"), ("unknown", "license unknown"), (None, "license unknown"), ("mit", "mit")],
)
def test_a_license_without_a_name_is_called_one(license: str | None, text: str) -> None:
    macros = _environment().get_template("macros.html").module
    row = {"drawn": False, "nsfw": False, "person": False, "commercial": None, "license": license}
    assert f'<span class="badge">{text}</span>' in macros.badges(row)  # type: ignore[attr-defined]


def test_unknown_adapters_are_not_found(client: httpx2.Client) -> None:
    assert client.get(f"/api/adapters/{'0' * 64}").status_code == 404
    assert "Not in this index" in client.get(f"/parts/adapters/{'0' * 64}").text


def test_images_are_reduced_to_the_sizes_of_the_page(client: httpx2.Client) -> None:
    (hit,) = search(client, q="a cat", k=1)
    answer = client.get(f"/images/{hit['images'][0]}/320.webp")
    assert answer.headers["content-type"] == "image/webp" and answer.content[:4] == b"RIFF"
    assert client.get(f"/images/{hit['images'][0]}/321.webp").status_code == 404


def test_the_api_is_described_without_foreign_resources(client: httpx2.Client) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    expected = {
        "/api/search",
        "/api/adapters/{sha256}",
        "/api/files",
        "/api/provenance",
        "/api/images",
    }
    assert expected <= set(paths) and all(path.startswith("/api/") for path in paths)
    page = client.get("/").text
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
