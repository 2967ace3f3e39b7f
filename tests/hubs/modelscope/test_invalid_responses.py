"""The ModelScope client with lists and file lists that are truncated or not valid."""

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


def test_a_list_of_files_that_ends_at_the_hubs_limit_is_logged(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(modelscope_client, "MAX_RESULTS", 3)
    serve_list(httpserver, [model()], 1)
    httpserver.expect_request(DETAILS_PATH).respond_with_json(envelope({}))
    entries = [{"Path": f"{name}.safetensors", "Type": "blob"} for name in "abc"]
    httpserver.expect_request(FILES_PATH).respond_with_json(envelope({"Files": entries}))
    assert len(crawl(connect(httpserver.url_for("")))) == 3
    assert "ann/ink: the list of files ends after 3" in caplog.text
