"""Which files and versions are listed: weights that anyone may download now."""

import datetime
from typing import Any

import pytest

from autolora.hubs import Availability
from tests.hubs.civitai.fake_civitai import RULES, TODAY, FakeCivitai, file, model, version


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
