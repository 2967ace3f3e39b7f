"""Conversion of Civitai's model entries to listings: their fields, and entries with any damage."""

import datetime
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from autolora.hubs.civitai.listings import parse_model
from autolora.hubs.civitai.schema import ModelEntry, parse
from autolora.hubs.http.endpoint import Endpoint
from autolora.records import Listing, Permissions
from tests.hubs.civitai.fake_civitai import RULES, SHA256, TODAY, FakeCivitai, file, image, model, version


def test_each_file_of_weights_becomes_a_listing(hub: FakeCivitai) -> None:
    hub.models = [model()]
    page = hub.client.page(RULES, None, TODAY)
    (ink,) = page.models
    assert (ink.id, ink.withdrawn, page.next, page.problems) == ("618692", False, None, ())
    assert ink.updated == datetime.datetime(2026, 1, 2, 4, tzinfo=datetime.UTC)
    (listing,) = ink.partial_listings
    assert [rendering.url[-6:] for rendering in listing.renderings] == ["1.jpeg", "2.jpeg", "3.jpeg"]
    assert replace(listing, renderings=()) == Listing(
        hub="civitai",
        id="618692",
        version="691639",
        file="691639/inkwash_v1.safetensors",
        url="https://civitai.com/api/download/models/691639",
        size=18720 * 1024 + 256,
        sha256=SHA256.lower(),
        license="civitai: commercial=Image+RentCivit, derivatives=yes, different-license=no, credit=needed",
        permissions=Permissions(commercial=True, derivatives=True, credit=True),
        base_model="Flux.1 D",
        base="flux.1-dev",
        nsfw=False,
        nsfw_level="none",
        person=False,
        minor=False,
        trigger_words=("inkwsh style",),
        description=("Ink Wash", "style"),
        renderings=(),
        downloads=812,
        updated="2026-01-02T04:00:00Z",
        first_seen=TODAY,
    )


def test_files_with_equal_names_or_urls_remain_distinct(hub: FakeCivitai) -> None:
    files = [
        file(id=1),
        file(id=2),
        file(id=3, name="other.safetensors", downloadUrl="https://civitai.com/x?type=Model"),
    ]
    hub.models = [model(modelVersions=[version(id=8, files=files), version(id=7)])]
    listings = hub.partial_listings()
    assert [listing.file for listing in listings] == [
        "8/1/inkwash_v1.safetensors",
        "8/2/inkwash_v1.safetensors",
        "8/other.safetensors",
        "7/inkwash_v1.safetensors",
    ]
    assert [listing.url for listing in listings] == [
        "https://civitai.com/api/download/models/691639?fileId=1",
        "https://civitai.com/api/download/models/691639?fileId=2",
        "https://civitai.com/x?type=Model",
        "https://civitai.com/api/download/models/691639",
    ]


@pytest.mark.parametrize(
    ("changes", "license", "permissions"),
    [
        ({"allowCommercialUse": "{Image,Rent}"}, "commercial=Image+Rent, ", (True, True, True)),
        ({"allowCommercialUse": "Sell"}, "commercial=Sell, ", (True, True, True)),
        ({"allowCommercialUse": ["RentCivit"]}, "commercial=RentCivit, ", (False, True, True)),
        ({"allowCommercialUse": ["None"]}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": "None"}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": []}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": None}, "civitai: derivatives=yes", (None, True, True)),
        ({"allowDerivatives": False, "allowNoCredit": True}, "derivatives=no, different-license=no, credit=free",
         (True, False, False)),
    ],
)  # fmt: skip
def test_permissions_are_stored_as_text_and_normalized(
    hub: FakeCivitai, changes: dict[str, Any], license: str, permissions: tuple[bool | None, ...]
) -> None:
    hub.models = [model(**changes)]
    (listing,) = hub.partial_listings()
    assert license in (listing.license or "")
    normalized = listing.permissions
    assert (normalized.commercial, normalized.derivatives, normalized.credit) == permissions


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"nsfwLevel": 5, "modelVersions": [version(nsfwLevel=None)]}, "mature"),
        ({"nsfwLevel": 31, "modelVersions": [version(nsfwLevel=3)]}, "soft"),
        ({"nsfw": True, "modelVersions": [version(nsfwLevel=1)]}, "mature"),
        ({"nsfw": True, "modelVersions": [version(nsfwLevel=9)]}, "explicit"),
        ({"nsfwLevel": None, "modelVersions": [version(nsfwLevel=0)]}, None),
    ],
)
def test_version_rating_precedes_model_rating(
    hub: FakeCivitai, changes: dict[str, Any], level: str | None
) -> None:
    hub.models = [model(**changes)]
    (listing,) = hub.partial_listings()
    assert (listing.nsfw_level, listing.nsfw) == (level, level in ("mature", "explicit"))


def test_missing_fields_are_none(hub: FakeCivitai) -> None:
    minimal_version = {
        "id": 7,
        "publishedAt": "2026-01-02T04:00:00Z",
        "files": [{"id": 1, "name": "x.safetensors", "downloadUrl": "https://civitai.com/x"}],
    }
    hub.models = [{"id": 3, "modelVersions": [minimal_version], "stats": None, "creator": None}]
    (listing,) = hub.partial_listings()
    values = (
        listing.size,
        listing.sha256,
        listing.license,
        listing.base_model,
        listing.base,
        listing.nsfw_level,
        listing.person,
        listing.minor,
        listing.downloads,
    )
    assert set(values) == {None}
    assert listing.permissions == Permissions()
    assert (listing.trigger_words, listing.renderings) == ((), ())


def test_rounded_sizes_are_upper_bounds(hub: FakeCivitai) -> None:
    hub.models = [model(modelVersions=[version(files=[file(sizeKB=18720.3)])])]
    assert hub.partial_listings()[0].size == 18721 * 1024


def test_rules_filter_the_images(hub: FakeCivitai) -> None:
    images = [
        image(1, nsfwLevel=8), image(2, type="video"), image(3, nsfwLevel="Mature"), image(4, minor=True),
        image(5, poi=True), image(6, url="http://10.0.0.1/6.jpeg"), image(7, url="javascript:alert(1)"),
        image(8, url="https://image.civitai.com/\ud800"), image(9), image(9), image(10, nsfwLevel=None),
    ]  # fmt: skip
    hub.models = [model(modelVersions=[version(images=images)])]
    (listing,) = hub.partial_listings(max_nsfw_level="soft", persons=False)
    assert [rendering.url[-7:] for rendering in listing.renderings] == ["/9.jpeg", "10.jpeg"]
    (listing,) = hub.partial_listings(max_nsfw_level="mature", max_renderings=2)
    assert [rendering.nsfw_level for rendering in listing.renderings] == ["mature", "none"]


def test_model_version_depends_on_the_description_only(hub: FakeCivitai) -> None:
    def model_version(**changes: Any) -> str:
        hub.models = [model(**changes)]
        return hub.model().version

    original = model_version()
    assert original.startswith("691639-")
    assert model_version() == original
    assert model_version(stats={"downloadCount": 901}) == original
    assert model_version(modelVersions=[version(stats={"downloadCount": 813})]) == original
    assert hub.client.page(RULES, None, TODAY + datetime.timedelta(1)).models[0].version == original
    changed = [
        model_version(allowDerivatives=False),
        model_version(poi=True),
        model_version(modelVersions=[version(trainedWords=["other"])]),
        model_version(modelVersions=[version(files=[file(hashes={"SHA256": "AB" * 32})])]),
        model_version(modelVersions=[version(images=[image(1)])]),
        model_version(modelVersions=[version(id=700000), version()]),
    ]
    changed.insert(0, model_version(name="New name"))
    assert len({original, *changed}) == 8
    assert changed[-1].startswith("700000-")


@pytest.mark.long(full=20_000, sample=100)
def test_damaged_entries_are_valid_listings_or_value_errors(seed: int) -> None:
    rng = random.Random(seed)
    entry = json.loads(json.dumps(model()))
    for _ in range(rng.randrange(1, 4)):
        damage(entry, rng)
    endpoint = Endpoint("civitai", "https://civitai.com", 5.0, 1, None)
    try:
        parsed = parse_model(parse(ModelEntry, entry), endpoint, RULES, TODAY)
    except ValueError:
        return
    for listing in parsed.partial_listings:
        row = json.loads(json.dumps(listing.to_row()).encode())
        assert Listing.from_row(row) == listing
        assert listing.url.startswith("https://")


def damage(value: Any, rng: random.Random) -> None:
    """Replace one leaf or branch of a JSON value by an unexpected value."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if rng.random() < 0.4 or not isinstance(value[key], dict | list):
            value[key] = rng.choice(UNEXPECTED)
            return
        value = value[key]


UNEXPECTED: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 2**31, 2**63, 2**70, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x", "1",
    "\x00", "\ud800", "../../x.safetensors", "/etc/passwd", "a\nb", "\u202egnp", "x" * 100_000, "None", "Sell", "LORA",
    "https://civitai.com/x", "https://[::1/x", "https://x:99999/", "http://127.0.0.1/", "file:///x", "9999-12-31",
    "2026-01-01T00:00:00Z", "2026-13-01", [], {}, [None], [[]], {"a": 1}, ["\ud800"], {"\ud800": 1}, [1, "x", None],
)  # fmt: skip
