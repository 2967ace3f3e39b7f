"""Conversion of Civitai's model entries to listings, and entries that are not valid."""

import datetime
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from autolora.hubs import Availability
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
    "changes",
    [
        {"name": "inkwash.pt"}, {"type": "VAE"}, {"type": "Training Data"}, {"downloadUrl": None},
        {"virusScanResult": "Danger"},
    ],
)  # fmt: skip
def test_skips_files_without_usable_weights(hub: FakeCivitai, changes: dict[str, Any]) -> None:
    hub.models = [model(modelVersions=[version(files=[file(**changes)])])]
    assert hub.partial_listings() == ()


@pytest.mark.parametrize(
    "changes", [{"status": "Draft"}, {"availability": "EarlyAccess"}, {"availability": "Private"}, {"files": None}]
)  # fmt: skip
def test_skips_versions_that_are_not_public(hub: FakeCivitai, changes: dict[str, Any]) -> None:
    hub.models = [model(modelVersions=[version(), version(id=9, **changes)])]
    assert [listing.version for listing in hub.partial_listings()] == ["691639"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("flux/ink.safetensors", "'flux/ink.safetensors'"),
        ("../x.safetensors", "'../x.safetensors'"),
        ("a\nb.safetensors", r"'a\nb.safetensors'"),
        ("a\\b.safetensors", r"'a\\b.safetensors'"),
        (f"{'x' * 600}.safetensors", f"'{'x' * 100}'"),
    ],
)
def test_invalid_file_name_loses_that_file_only(hub: FakeCivitai, name: str, shown: str) -> None:
    files = [file(id=1, name=name), file(id=2)]
    hub.models = [model(modelVersions=[version(id=8, files=files), version(id=7)]), model(id=5)]
    page = hub.client.page(RULES, None, TODAY)
    assert [[listing.file for listing in entry.partial_listings] for entry in page.models] == [
        ["8/inkwash_v1.safetensors", "7/inkwash_v1.safetensors"],
        ["691639/inkwash_v1.safetensors"],
    ]
    (problem,) = page.problems
    assert problem.startswith(f"model 618692: file 1 of version 8 is left out: its name {shown} is not valid")
    assert page.unreadable == frozenset()


FUTURE, THIS_MORNING, YESTERDAY = (
    "2026-02-01T00:00:00.000Z",
    "2026-01-03T06:00:00.000Z",
    "2026-01-02T23:59:00.000Z",
)


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"paidAccess": {"permanent": True, "endsAt": None}}, False),
        ({"paidAccess": {"permanent": True, "endsAt": YESTERDAY}}, False),
        ({"paidAccess": {"permanent": False, "endsAt": FUTURE}, "earlyAccessDeadline": FUTURE}, False),
        ({"paidAccess": {"permanent": False, "endsAt": THIS_MORNING}}, False),
        ({"paidAccess": {"permanent": False, "endsAt": None}}, False),
        ({"paidAccess": {"permanent": False, "endsAt": "soon"}}, False),
        ({"paidAccess": None, "earlyAccessDeadline": FUTURE}, False),
        ({"earlyAccessDeadline": FUTURE}, False),
        ({"earlyAccessDeadline": ""}, False),
        ({"paidAccess": {"permanent": False, "endsAt": YESTERDAY}}, True),
        ({"earlyAccessDeadline": YESTERDAY}, True),
        ({"paidAccess": None, "earlyAccessDeadline": None}, True),
    ],
)
def test_versions_are_listed_when_their_access_is_free(
    hub: FakeCivitai, changes: dict[str, Any], listed: bool
) -> None:
    hub.models = [model(modelVersions=[version(id=9, availability="Public", **changes), version()])]
    (entry,) = hub.client.page(RULES, None, TODAY).models
    assert [listing.version for listing in entry.partial_listings] == [*(["9"] if listed else []), "691639"]
    assert hub.client.availability("618692") is Availability.AVAILABLE


def test_model_with_paid_versions_only_is_neither_a_problem_nor_withdrawn(hub: FakeCivitai) -> None:
    paid = {"permanent": False, "endsAt": FUTURE}
    hub.models = [model(modelVersions=[version(paidAccess=paid, files=[file(name="a/b.safetensors")])])]
    page = hub.client.page(RULES, None, TODAY)
    (ink,) = page.models
    assert (ink.partial_listings, ink.withdrawn, page.problems) == ((), False, ())
    assert hub.client.complete_listings(ink, RULES, {}) == () and len(hub.requests) == 1
    later = hub.client.page(RULES, None, datetime.date(2026, 2, 2))
    assert later.problems and later.models[0].partial_listings == ()


@pytest.mark.parametrize(
    "changes", [{"mode": "Archived"}, {"mode": "TakenDown"}, {"availability": "Private"}]
)
def test_removed_models_are_withdrawn(hub: FakeCivitai, changes: dict[str, Any]) -> None:
    hub.models = [model(**changes), model(id=5, modelVersions=None, **changes)]
    page = hub.client.page(RULES, None, TODAY)
    assert [(entry.withdrawn, entry.partial_listings) for entry in page.models] == [(True, ()), (True, ())]
    assert hub.client.availability("618692") is Availability.WITHDRAWN


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


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (model(id="618692"), "model '618692': id: Input should be a valid integer"),
        ({"name": "x"}, "model None: id: Field required"),
        (model(id=True), "id: Input should be a valid integer"),
        (model(nsfw="true"), "nsfw: Input should be a valid boolean"),
        (model(modelVersions={}), "modelVersions: Input should be a valid list"),
        (model(modelVersions=[version(trainedWords="ink")]), r"modelVersions.0.trainedWords"),
        (model(modelVersions=[version(files=[file(sizeKB="18")])]), r"modelVersions.0.files.0.sizeKB"),
        (
            model(modelVersions=[version(files=[file(sizeKB=-1)])]),
            r"files.0.sizeKB.*greater than or equal to 0",
        ),
        (model(modelVersions=[version(files=[file(sizeKB=float("nan"))])]), r"files.0.sizeKB"),
        (model(modelVersions=[version(files=[file(hashes={"SHA256": 5})])]), r"files.0.hashes.SHA256"),
        (model(modelVersions=[version(files=[file(downloadUrl="http://10.0.0.1/x")])]), "is not allowed"),
        (model(modelVersions=[version(files=[file(downloadUrl="file:///etc/passwd")])]), "is not allowed"),
        (model(modelVersions=[version(files=[file(downloadUrl="https://u:p@x.org/")])]), "is not allowed"),
        (model(modelVersions=[]), "no version has a valid date"),
        (model(modelVersions=[version(publishedAt="yesterday")]), "no version has a valid date"),
        (
            model(modelVersions=[version(publishedAt=1700000000)]),
            "publishedAt: Input should be a valid string",
        ),
        ("nonsense", "model 'nonsense': entry: Input should be a dictionary"),
        (None, "model None: entry"),
    ],
)
def test_invalid_entry_is_a_problem_and_others_are_listed(hub: FakeCivitai, entry: Any, message: str) -> None:
    problem = hub.problem(entry)
    assert all(part in problem for part in message.split(".*"))
    assert len(problem) < 1000


def test_unreadable_entries_are_identified_by_number(hub: FakeCivitai) -> None:
    ids: list[Any] = [771, "772", None, -1, True, 1.5, 10**30, "x", "7" * 99, [3]]
    unreadable = []
    for id in ids:
        hub.models = [model(id=id, modelVersions=[]), None]
        unreadable.append(set(hub.client.page(RULES, None, TODAY).unreadable))
    assert unreadable == [{"771"}, {"772"}, *([set()] * 8)]


def test_model_version_depends_on_the_description_only(hub: FakeCivitai) -> None:
    def model_version(**changes: Any) -> str:
        hub.models = [model(**changes)]
        return hub.model().version

    original = model_version()
    assert original.startswith("691639-")
    assert model_version() == original
    assert model_version(stats={"downloadCount": 901}, name="New name", tags=[]) == original
    assert hub.client.page(RULES, None, TODAY + datetime.timedelta(1)).models[0].version == original
    changed = [
        model_version(allowDerivatives=False),
        model_version(poi=True),
        model_version(modelVersions=[version(trainedWords=["other"])]),
        model_version(modelVersions=[version(files=[file(hashes={"SHA256": "AB" * 32})])]),
        model_version(modelVersions=[version(images=[image(1)])]),
        model_version(modelVersions=[version(id=700000), version()]),
    ]
    assert len({original, *changed}) == 7
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
