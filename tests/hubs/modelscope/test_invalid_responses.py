"""The ModelScope client with lists and file lists that are truncated, unsorted or not valid."""

from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import HubError
from autolora.hubs.modelscope import client as modelscope_client
from tests.hubs.modelscope.fake_modelscope import (
    DETAILS_PATH,
    FILES_PATH,
    LIST_PATH,
    REVISION,
    TODAY,
    connect,
    crawl,
    envelope,
    model,
    pages,
    serve_files,
    serve_list,
)
from tests.support.tiny_pool import RULES


def test_reports_results_beyond_the_hubs_limit(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [model(f"a/m{number}", 1767400000 - number) for number in range(120)]
    numbers = serve_list(httpserver, models, 5000, page_size=3)
    monkeypatch.setattr(modelscope_client, "MAX_RESULTS", 6)
    (first, second) = pages(connect(httpserver.url_for("")))
    assert (len(first.models), len(second.models), second.next, numbers) == (3, 3, None, [1, 2])
    assert (first.is_truncated, second.is_truncated) == (False, True)
    assert second.problems == (
        "the results for 'LoRA' contain only the newest 6 models of 5000: add further words to crawl.searches to list "
        "the others",
    )


def test_reports_results_that_end_too_early(httpserver: HTTPServer) -> None:
    serve_list(httpserver, [model(f"a/m{number}") for number in range(3)], 7, page_size=3)
    first, second = pages(connect(httpserver.url_for("")))
    assert (first.problems, len(second.problems)) == ((), 1)
    assert second.problems[0] == "the results for 'LoRA' end before page 2, expected 7 models"


@pytest.mark.parametrize("total", [None, -1, "7", 10**30])
def test_reads_all_pages_if_the_total_is_invalid(httpserver: HTTPServer, total: Any) -> None:
    numbers = serve_list(httpserver, [model(f"a/m{number}") for number in range(7)], total, page_size=3)
    assert sum(len(page.models) for page in pages(connect(httpserver.url_for("")))) == 7
    assert numbers == [1, 2, 3]


def test_unsorted_results_are_read_to_the_end_at_once(httpserver: HTTPServer) -> None:
    times = [5, 9, 7, 1, 8, 2, 3]
    models = [model(f"a/m{time}", 1767400000 + time) for time in times]
    numbers = serve_list(httpserver, [*models, model("a/never", None)], 8, page_size=3)
    (page,) = pages(connect(httpserver.url_for("")))
    assert [entry.id for entry in page.models] == [f"a/m{time}" for time in sorted(times, reverse=True)]
    assert page.problems[0] == "the results for 'LoRA' are not sorted by last_modified: all pages were read"
    assert (len(page.problems), page.unreadable) == (2, {"a/never"})
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize(
    "body",
    [
        "<html>", '{"success": true, "data": {"models": [', "null", "[]", '{"success": false, "data": {"models": []}}',
        '{"success": true, "data": null}', '{"success": true, "data": {"models": {}}}', '{"models": []}',
        '{"success": true, "data": {"models": [], "page_number": 2}}',
    ],
)  # fmt: skip
def test_invalid_list_responses_are_errors(httpserver: HTTPServer, body: str) -> None:
    httpserver.expect_request(LIST_PATH).respond_with_data(body)
    with pytest.raises(HubError, match=r"expected|not valid JSON"):
        crawl(connect(httpserver.url_for("")))


def test_invalid_entry_is_a_problem_and_others_are_listed(httpserver: HTTPServer) -> None:
    entries = [
        None, 10**30, [], {}, model("../up"), model(3), model("a/b", None), model("a/c", "never"), model(),
        model("a/gated", gated=True), model("a/e", private=7),
        model("a/odd", license=3, tags={"a": 1}, downloads=-1), model(),
    ]  # fmt: skip
    serve_list(httpserver, entries, len(entries))
    page = connect(httpserver.url_for("")).page(RULES, None, TODAY)
    assert (len(page.problems), page.unreadable) == (9, {"a/b", "a/c", "a/e"})
    assert [(entry.id, entry.withdrawn, len(entry.partial_listings)) for entry in page.models] == [
        ("ann/ink", False, 1),
        ("a/gated", True, 0),
        ("a/odd", False, 1),
    ]
    odd = page.models[2].partial_listings[0]
    assert (odd.license, odd.downloads, odd.base, odd.nsfw_level) == (None, None, None, None)


def test_skips_invalid_file_entries_and_fields(httpserver: HTTPServer) -> None:
    valid = {
        "Path": "a b/lora.safetensors",
        "Type": "blob",
        "Size": 9,
        "Sha256": "B" * 64,
        "Revision": REVISION,
    }
    entries = [
        None, "text", {}, valid, valid | {"Path": "../x.safetensors"}, valid | {"Path": 3},
        valid | {"Path": "tree.safetensors", "Type": "tree"},
        valid | {"Path": "odd.safetensors", "Size": -1, "Sha256": "x", "Revision": "../../etc"},
        valid | {"Path": "a.png"}, valid | {"Path": "b.PNG", "Sha256": None},
    ]  # fmt: skip
    serve_list(httpserver, [model()], 1)
    details = {"BaseModel": [None, "black-forest-labs/FLUX.1-schnell"], "License": ["x"]}
    httpserver.expect_request(DETAILS_PATH).respond_with_json(envelope(details))
    httpserver.expect_request(FILES_PATH).respond_with_json(envelope({"Files": entries}))
    first, second = crawl(connect(httpserver.url_for("")))
    assert (first.file, first.size, first.sha256, first.base) == (
        "a b/lora.safetensors", 9, "b" * 64, "flux.1-schnell",
    )  # fmt: skip
    assert first.url.endswith(f"{DETAILS_PATH}/repo?Revision={REVISION}&FilePath=a+b%2Flora.safetensors")
    assert (second.file, second.size, second.sha256) == ("odd.safetensors", None, None)
    assert "Revision=master&" in second.url
    assert [rendering.sha256 for rendering in first.renderings] == ["b" * 64, None]


def test_restricted_model_has_no_listings(httpserver: HTTPServer) -> None:
    serve_list(httpserver, [model()], 1)
    httpserver.expect_request(DETAILS_PATH).respond_with_json(envelope({"ProtectedMode": 1}))
    httpserver.expect_request(FILES_PATH).respond_with_json(envelope({"Files": []}))
    assert crawl(connect(httpserver.url_for(""))) == []


def test_truncated_file_list_is_read_folder_by_folder(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope_client, "MAX_RESULTS", 8)
    paths = [f"{folder}/{number}.safetensors" for folder in ("a", "a/b", "c") for number in range(5)]
    requests = serve_files(httpserver, [*paths, "z.safetensors"], max_entries=8)
    client = connect(httpserver.url_for(""))
    page = client.page(RULES, None, TODAY)
    listings = client.complete_listings(page.models[0], RULES, {})
    assert sorted(listing.file for listing in listings) == sorted([*paths, "z.safetensors"])
    assert requests[:2] == [("", "True"), ("", "False")] and len(requests) <= 7


def test_number_of_file_list_requests_is_limited(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope_client, "MAX_RESULTS", 2)
    monkeypatch.setattr(modelscope_client, "MAX_FILE_REQUESTS", 20)
    paths = ["/".join("abcdefghijklmnopq") + f"/{number}.bin" for number in range(9)]
    requests = serve_files(httpserver, paths, max_entries=2)
    client = connect(httpserver.url_for(""))
    page = client.page(RULES, None, TODAY)
    with pytest.raises(HubError, match="takes more than 20 requests"):
        client.complete_listings(page.models[0], RULES, {})
    assert len(requests) <= 20
