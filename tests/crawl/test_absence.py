"""Absences that are not believed: a hub that lost too many of its models at once, and a hub that lists only a part."""

from dataclasses import replace
from datetime import date
from unittest.mock import patch

import pytest

from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.errors import HubError
from autolora.hubs import Availability, Page
from autolora.params import CrawlParams
from tests.support.fake_hub import FakeHub
from tests.support.two_hubs import DAYS, INCREMENTAL, RULES, TwoHubs

CONFIRMED = replace(RULES, max_withdrawn_share=1.0)


@pytest.fixture
def large(hubs: TwoHubs) -> TwoHubs:
    """Two hubs of which one lists 85 models, crawled on the first day."""
    hubs.put_many(80, first_hour=100)
    hubs.crawl(0)
    return hubs


def plan(hubs: TwoHubs, day: int, rules: CrawlParams = RULES) -> CatalogPlan:
    """Crawl Hugging Face only, write the catalog and return the plan."""
    result = crawl.reconcile(hubs.root, [hubs.scan(hubs.huggingface, day, rules)], rules, DAYS[day])
    crawl.write(hubs.root, result)
    return result


def statuses(plan: CatalogPlan) -> set[str]:
    """Return the statuses of the crawled hub's listings."""
    return {listing.status for listing in plan.listings if listing.hub == "huggingface"}


def states(plan: CatalogPlan, ids: set[str]) -> set[tuple[str, date | None]]:
    """Return status and stale_since of some models."""
    return {(listing.status, listing.stale_since) for listing in plan.listings if listing.id in ids}


def test_mirror_with_a_single_repository_withdraws_nothing(large: TwoHubs) -> None:
    """Every other model answers 404 on this mirror."""
    everything = dict(large.huggingface.models)
    large.huggingface.models = {"ann/ink": everything["ann/ink"]}
    gone = everything.keys() - {"ann/ink"}
    for day in (1, 2, 3):
        after = plan(large, day)
        assert states(after, gone) == {("listed", DAYS[1])}
        assert after.problems["huggingface"] == (
            "84 of 85 known models are absent (84 not found, 0 missing from the list but available, 0 not checked), "
            "more than crawl.max_withdrawn_share = 0.2 allows: none of them is withdrawn. Check hubs.huggingface and "
            "crawl.filters; if the models are gone, set crawl.max_withdrawn_share to 1 for one crawl",
        )
    large.huggingface.models = everything
    assert states(plan(large, 4), gone) == {("listed", None)}


def test_operator_confirms_that_the_models_are_gone(large: TwoHubs) -> None:
    gone = large.huggingface.models.keys() - {"ann/ink"}
    large.huggingface.models = {"ann/ink": large.huggingface.models["ann/ink"]}
    plan(large, 1)
    assert states(plan(large, 2, CONFIRMED), gone) == {("withdrawn", None)}
    assert states(plan(large, 3), gone) == {("withdrawn", None)}


def test_confirmation_makes_the_next_crawl_a_full_scan(large: TwoHubs) -> None:
    large.huggingface.models = {"ann/ink": large.huggingface.models["ann/ink"]}
    plan(large, 1, INCREMENTAL)
    confirmed = replace(INCREMENTAL, max_withdrawn_share=1.0)
    assert sum(listing.status == "withdrawn" for listing in plan(large, 1, confirmed).listings) == 84


def test_empty_list_is_believed_if_it_is_confirmed(large: TwoHubs) -> None:
    large.huggingface.models.clear()
    with pytest.raises(HubError, match=r"set crawl\.max_withdrawn_share to 1 for one crawl"):
        crawl.scan_hub(large.root, large.huggingface, RULES, DAYS[1])
    assert statuses(plan(large, 1, CONFIRMED)) == {"withdrawn"}


@pytest.mark.parametrize(("num_gone", "is_believed"), [(3, True), (17, True), (18, False)])
def test_a_share_of_the_known_models_is_believed(large: TwoHubs, num_gone: int, is_believed: bool) -> None:
    for number in range(num_gone):
        del large.huggingface.models[f"more/{number}"]
    after = plan(large, 1)
    withdrawn = [listing.id for listing in after.listings if listing.status == "withdrawn"]
    assert len(withdrawn) == (num_gone if is_believed else 0)
    assert bool(after.problems["huggingface"]) is not is_believed


@pytest.mark.parametrize("num_gone", [1, 2, 3])
def test_two_models_of_a_small_hub_are_believed(hubs: TwoHubs, num_gone: int) -> None:
    hubs.crawl(0)
    for id in ("ann/ink", "ann/neon", "bob/cat")[:num_gone]:
        del hubs.huggingface.models[id]
    withdrawn = [listing.id for listing in plan(hubs, 1).listings if listing.status == "withdrawn"]
    assert len(withdrawn) == (num_gone if num_gone <= 2 else 0)


def test_statements_about_single_models_are_always_believed(large: TwoHubs) -> None:
    """Hubs have taken down hundreds of models on one day."""
    models = large.huggingface.models
    listed = {f"more/{number}" for number in range(30)}
    hidden = {f"more/{number}" for number in range(30, 60)}
    for id in listed:
        models[id] = replace(models[id], partial_listings=(), withdrawn=True)
    large.huggingface.hidden |= hidden
    large.huggingface.availabilities |= {id: [Availability.WITHDRAWN] for id in hidden}
    after = plan(large, 1)
    assert states(after, listed | hidden) == {("withdrawn", None)} and not after.problems["huggingface"]


def test_missing_a_second_time_withdraws_nothing_if_too_many_are(large: TwoHubs) -> None:
    hidden = large.huggingface.hidden = {f"more/{number}" for number in range(30)}
    for day in (1, 2, 3):
        after = plan(large, day)
        assert states(after, hidden) == {("missing", None)}
        assert "30 missing from the list but available" in after.problems["huggingface"][-1]


def test_list_in_which_all_models_lost_their_files_withdraws_nothing(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    for id, model in hubs.huggingface.models.items():
        listings = tuple(replace(listing, file="other.txt") for listing in model.partial_listings)
        hubs.huggingface.models[id] = replace(model, partial_listings=listings)
    with patch.object(FakeHub, "complete_listings", lambda *_: ()):
        for day in (1, 2, 3):
            after = plan(hubs, day)
            assert "5 of 5 known models are absent" in after.problems["huggingface"][-1]
            assert statuses(after) == {"missing"}


class PartialHub(FakeHub):
    """A hub that lists its three newest models only, as a search with a limited number of results."""

    def page(self, rules: CrawlParams, cursor: str | None, today: date) -> Page:
        return replace(super().page(rules, None, today), next=None, is_truncated=True)


@pytest.fixture
def partial(hubs: TwoHubs) -> TwoHubs:
    """Two hubs of which one lists 3 of 85 models, all of which are in the catalog."""
    hubs.put_many(80, first_hour=100)
    hubs.crawl(0)
    hubs.huggingface = PartialHub("huggingface", models=hubs.huggingface.models)
    return hubs


def test_models_beyond_the_end_of_a_truncated_list_stay(partial: TwoHubs) -> None:
    del partial.huggingface.models["more/1"], partial.huggingface.models["more/2"]
    for day in (1, 2, 3):
        after = plan(partial, day)
        assert states(after, {"more/1", "more/2"}) == {("withdrawn", None)}
        assert states(after, {*partial.huggingface.models}) == {("listed", None)}
        assert after.problems["huggingface"] == ()


def test_truncated_list_of_a_mirror_withdraws_nothing(partial: TwoHubs) -> None:
    gone = {id for id in partial.huggingface.models if id not in ("more/77", "more/78", "more/79")}
    for id in gone:
        del partial.huggingface.models[id]
    after = plan(partial, 1)
    assert states(after, gone) == {("listed", DAYS[1])}
    assert "82 of 82 checked models are absent" in after.problems["huggingface"][-1]


def test_each_day_checks_other_models_if_there_are_too_many(
    partial: TwoHubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.crawl.scan.MAX_CHECKED", 20)
    checked: set[str] = set()
    for day in range(1, 6):
        scan = partial.scan(partial.huggingface, day)
        assert len(scan.availability) == 20
        checked |= scan.availability.keys()
        crawl.write(partial.root, crawl.reconcile(partial.root, [scan], RULES, DAYS[day]))
    assert len(checked) == 82
