"""The Civitai client: list requests, availability, invalid responses, downloads."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from autolora.errors import HubError
from autolora.hubs import Availability
from tests.hubs.civitai.fake_civitai import RULES, TODAY, FakeCivitai, json_response, model


def test_list_request_uses_civitais_names(hub: FakeCivitai) -> None:
    hub.client.page(replace(RULES, bases=("flux.1-dev", "flux.1-krea", "other")), None, TODAY)
    request = hub.requests[0]
    assert request.args.getlist("types") == ["LORA", "LoCon", "DoRA"]
    assert request.args.getlist("baseModels") == ["Flux.1 D", "Flux.1 Krea"]
    assert (request.args["sort"], request.args["nsfw"], request.args["limit"]) == ("Newest", "true", "100")
    assert not {"page", "token", "tag", "favorites", "hidden", "cursor"} & request.args.keys()
    assert request.headers["User-Agent"] == "autolora"
    assert request.headers["Authorization"] == "Bearer secret"


def test_sends_no_request_if_civitai_has_none_of_the_bases(hub: FakeCivitai) -> None:
    assert hub.client.page(replace(RULES, bases=("flux.1-fill",)), None, TODAY).models == ()
    assert hub.requests == []
    hub.client.page(replace(RULES, bases=()), None, TODAY)
    assert len(hub.requests[0].args.getlist("baseModels")) == 9


def test_follows_cursors_and_drops_duplicates_within_a_page(hub: FakeCivitai) -> None:
    hub.models = [model(id=number) for number in (1, 2, 3, 3, 4)]
    ids, cursor = [], None
    while True:
        page = hub.client.page(RULES, cursor, TODAY)
        ids += [entry.id for entry in page.models]
        if (cursor := page.next) is None:
            break
    assert ids == ["1", "2", "3", "4"]
    assert [request.args.get("cursor") for request in hub.requests] == [None, "2", "4"]


@pytest.mark.parametrize(
    ("status", "availability"),
    [
        (200, Availability.AVAILABLE),
        (404, Availability.NOT_FOUND),
        (410, Availability.WITHDRAWN),
        (451, Availability.WITHDRAWN),
    ],
)
def test_availability_follows_from_the_models_own_page(
    hub: FakeCivitai, status: int, availability: Availability
) -> None:
    hub.models = [model()]
    hub.responses = [json_response(model(), status)] * 3
    assert hub.client.availability("618692") is availability


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_availability_is_an_error_if_the_hub_denies_access_or_fails(hub: FakeCivitai, status: int) -> None:
    hub.responses = [json_response({}, status)] * 3
    with pytest.raises(HubError, match=str(status)):
        hub.client.availability("618692")


@pytest.mark.parametrize("id", ["../x", "1?x=1", "ann/ink", "", "١"])
def test_availability_rejects_ids_that_are_not_numbers(hub: FakeCivitai, id: str) -> None:
    with pytest.raises(HubError, match="is not a model number"):
        hub.client.availability(id)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (json_response([]), "expected a list of items"),
        (json_response({"items": None}), "expected a list of items"),
        (json_response({"items": {}, "metadata": {}}), "expected a list of items"),
        (json_response({"items": [], "metadata": {"nextCursor": {"a": 1}}}), "expected a text or number"),
        (json_response({"items": [], "metadata": {"nextCursor": True}}), "expected a text or number"),
        (json_response({"items": [], "metadata": {"nextCursor": 7}}), "differs from the current cursor"),
        (Response("<html>", content_type="text/html"), "not valid JSON"),
        (Response('{"items": [', content_type="application/json"), "not valid JSON"),
        (json_response({}, 400), "400"),
    ],
)
def test_invalid_list_responses_are_errors(hub: FakeCivitai, response: Response, message: str) -> None:
    hub.responses = [response] * 3
    with pytest.raises(HubError, match=message):
        hub.client.page(RULES, "7", TODAY)


def test_recognizes_every_form_of_a_last_page(hub: FakeCivitai) -> None:
    for metadata in ({}, {"nextCursor": None}, {"nextCursor": ""}, None, []):
        hub.responses = [json_response({"items": [], "metadata": metadata})]
        assert hub.client.page(RULES, None, TODAY).next is None


def test_retries_downloads_after_404(hub: FakeCivitai, httpserver: HTTPServer, tmp_path: Path) -> None:
    responses = [Response("{}", 404), Response(b"weights")]
    handler = httpserver.expect_request("/civitai/api/download/models/1")
    handler.respond_with_handler(lambda _: responses.pop(0))
    hub.client.download(f"{hub.url}/api/download/models/1", tmp_path / "x", 100)
    assert (tmp_path / "x").read_bytes() == b"weights"
    assert hub.waits == [1.0]
