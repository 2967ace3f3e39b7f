"""The prompts of images: requests, reuse of known prompts, and unreadable images."""

from dataclasses import replace
from typing import Any

import pytest

from autolora.records import Listing
from tests.hubs.civitai.fake_civitai import (
    RULES,
    FakeCivitai,
    file,
    generated_image,
    image,
    json_response,
    model,
    version,
)


def prompts(listing: Listing) -> list[str | None]:
    return [rendering.prompt for rendering in listing.renderings]


def test_reads_prompts_from_the_list_of_images(hub: FakeCivitai) -> None:
    hub.models = [model()]
    hub.images = [
        generated_image(9),
        generated_image(2),
        generated_image(3, meta=None),
        {"id": "x"},
        generated_image(1, meta={"prompt": "a\x00 heron"}),
    ]
    ink = hub.model()
    (listing,) = hub.client.complete_listings(ink, RULES, {})
    assert prompts(listing) == ["a heron", "heron 2", None]
    assert replace(listing, renderings=()) == replace(ink.partial_listings[0], renderings=())
    request = hub.requests[1]
    expected = {
        "modelVersionId": "691639",
        "withMeta": "true",
        "flatMeta": "true",
        "browsingLevel": "31",
        "limit": "200",
        "username": "inkmaker",
    }
    assert {name: request.args[name] for name in expected} == expected
    assert len(hub.requests) == 1 + 3


def test_known_prompts_need_no_request(hub: FakeCivitai) -> None:
    hub.models = [model(modelVersions=[version(files=[file(id=1), file(id=2, name="b.safetensors")])])]
    hub.images = [generated_image(1), generated_image(2), generated_image(3)]
    listings = hub.client.complete_listings(hub.model(), RULES, {})
    image_requests = [request for request in hub.requests if request.path == "/civitai/api/v1/images"]
    assert len(image_requests) == 2  # two pages, for both files together
    known = {listing.url: listing for listing in listings}
    hub.requests.clear()
    hub.models = [model(allowDerivatives=False, modelVersions=hub.models[0]["modelVersions"])]
    relicensed = hub.client.complete_listings(hub.model(), RULES, known)
    assert len(hub.requests) == 1
    assert [listing.renderings for listing in relicensed] == [listing.renderings for listing in listings]
    assert all("derivatives=no" in (listing.license or "") for listing in relicensed)


def test_requests_the_prompt_of_a_new_image(hub: FakeCivitai) -> None:
    hub.models = [model(modelVersions=[version(images=[image(1)])])]
    hub.images = [generated_image(1), generated_image(2)]
    known = {listing.url: listing for listing in hub.client.complete_listings(hub.model(), RULES, {})}
    hub.models = [model(modelVersions=[version(images=[image(2), image(1)])])]
    (listing,) = hub.client.complete_listings(hub.model(), RULES, known)
    assert prompts(listing) == ["heron 2", "heron 1"]


def test_version_without_images_needs_no_request(hub: FakeCivitai) -> None:
    hub.models = [model(modelVersions=[version(images=None)])]
    ink = hub.model()
    assert hub.client.complete_listings(ink, RULES, {}) == ink.partial_listings
    assert len(hub.requests) == 1


def test_incomplete_prompts_are_requested_again(hub: FakeCivitai) -> None:
    hub.models = [model()]
    hub.images = [generated_image(1), generated_image(2), generated_image(3)]
    ink = hub.model()
    hub.responses = [json_response({"error": "gone"}, 404)]
    (without_prompts,) = hub.client.complete_listings(ink, RULES, {})
    assert without_prompts == replace(ink.partial_listings[0], complete=False)

    hub.responses = [
        json_response({"items": [generated_image(1)], "metadata": {"nextCursor": 1}}),
        json_response({}, 403),
    ]
    (partial,) = hub.client.complete_listings(ink, RULES, {without_prompts.url: without_prompts})
    hub.responses = [json_response({}, 401)]
    assert hub.client.complete_listings(ink, RULES, {partial.url: partial}) == (partial,)
    assert (prompts(partial), partial.complete) == (["heron 1", None, None], False)

    (complete,) = hub.client.complete_listings(ink, RULES, {partial.url: partial})
    assert (prompts(complete), complete.complete) == (["heron 1", "heron 2", "heron 3"], True)
    assert without_prompts.digest != complete.digest == replace(complete, complete=False).digest
    hub.requests.clear()
    assert hub.client.complete_listings(ink, RULES, {complete.url: complete}) == (complete,)
    assert hub.requests == []

    rows = [listing.to_row() for listing in (complete, without_prompts)]
    assert [Listing.from_row(row) for row in rows] == [complete, without_prompts]
    row = {name: value for name, value in complete.to_row().items() if name != "complete"}
    assert Listing.from_row(row) == complete


@pytest.mark.parametrize(
    ("damaged", "complete"),
    [
        ({"id": 2}, False),
        ({"id": 2, "url": None}, False),
        (generated_image(2, id="x"), False),
        (generated_image(2, meta={"prompt": 3}), False),
        (generated_image(9, id="x"), True),
        (generated_image(2, meta=None), True),
        (generated_image(2, meta={}), True),
    ],
)
def test_unreadable_image_makes_the_listing_incomplete_if_it_may_be_wanted(
    hub: FakeCivitai, damaged: Any, complete: bool
) -> None:
    hub.models, hub.images = [model()], [generated_image(1), damaged, generated_image(3)]
    (listing,) = hub.client.complete_listings(hub.model(), RULES, {})
    assert prompts(listing) == ["heron 1", None, "heron 3"]
    assert listing.complete is complete


@pytest.mark.parametrize(("num_images", "num_requests"), [(1, 1), (2, 1), (3, 2)])
def test_requests_per_version_are_the_authors_pages(
    hub: FakeCivitai, num_images: int, num_requests: int
) -> None:
    """The 600 images of other users, which /images sorts before those of the author, cost no request."""
    numbers = range(1, num_images + 1)
    hub.models = [model(modelVersions=[version(images=[image(number) for number in numbers])])]
    strangers = [generated_image(number, username="visitor") for number in range(1000, 1600)]
    hub.images = strangers + [generated_image(number) for number in numbers]
    ink = hub.model()
    hub.requests.clear()
    (listing,) = hub.client.complete_listings(ink, RULES, {})
    assert prompts(listing) == [f"heron {number}" for number in numbers]
    assert len(hub.requests) == num_requests


@pytest.mark.parametrize("creator", [None, {"username": None}, {"username": "ink maker&limit=1"}])
def test_images_of_all_users_are_searched_if_the_author_has_no_valid_name(
    hub: FakeCivitai, creator: Any
) -> None:
    hub.models = [model(creator=creator)]
    hub.images = [generated_image(1, username="visitor"), generated_image(2), generated_image(3)]
    (listing,) = hub.client.complete_listings(hub.model(), RULES, {})
    assert prompts(listing) == ["heron 1", "heron 2", "heron 3"]
    assert "username" not in hub.requests[1].args


def test_image_without_a_uuid_is_matched_by_its_id(hub: FakeCivitai) -> None:
    url = "https://image.civitai.com/x/width=450/1.jpeg"
    hub.models = [model(modelVersions=[version(images=[image(1, url=url)])])]
    hub.images = [generated_image(1)]
    (listing,) = hub.client.complete_listings(hub.model(), RULES, {})
    assert prompts(listing) == ["heron 1"]


def test_other_images_prompts_are_not_used(hub: FakeCivitai) -> None:
    hub.models = [model(modelVersions=[version(images=[image(1, url="https://x.org/a/image.png")])])]
    hub.images = [generated_image(2, url="https://x.org/b/image.png"), generated_image(3)]
    (listing,) = hub.client.complete_listings(hub.model(), RULES, {})
    assert prompts(listing) == [None]
