"""The playground's Civitai API: its list, and the fields of models."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.playground.civitai_client import CivitaiClient
from tests.support.tiny_pool import REPOS

NEWEST = {"sort": "Newest", "limit": 2, "types": "LORA"}


def test_list_is_paged_by_cursor_newest_first(civitai: CivitaiClient) -> None:
    models = civitai.list_all("models", **NEWEST, baseModels=["Flux.1 D", "Flux.1 S"])
    assert [model["name"] for model in models] == ["pickle", "cat", "neon", "ink"]
    assert civitai.hub.requests()["civitai"]["listing"] == 2
    page = civitai.get("models", **NEWEST)
    assert page["metadata"]["nextPage"].startswith(f"{civitai.endpoint}/api/v1/models?sort=Newest&limit=2&")
    again = civitai.get("models", **NEWEST, cursor=page["metadata"]["nextCursor"])
    assert [model["name"] for model in again["items"]] == ["neon", "ink"] and not again["metadata"]


def test_model_has_the_fields_that_clients_read(civitai: CivitaiClient) -> None:
    model = civitai.model("ann/ink")
    version = model["modelVersions"][0]
    (file,) = version["files"]
    content = civitai.content("ann/ink")
    assert model["creator"]["username"] == "ann" and model["tags"] == ["lora"]
    assert (model["type"], model["availability"], model["nsfwLevel"]) == ("LORA", "Public", 1)
    assert model["allowCommercialUse"] == ["Image", "RentCivit", "Rent", "Sell"]
    assert [model[f"allow{name}"] for name in ("NoCredit", "Derivatives", "DifferentLicense")] == [
        False,
        True,
        True,
    ]
    assert (version["baseModel"], version["trainedWords"]) == ("Flux.1 D", ["word0"])
    assert file["hashes"]["SHA256"] == hashlib.sha256(content).hexdigest().upper()
    assert file["hashes"]["AutoV2"] == file["hashes"]["SHA256"][:10] and None not in file["hashes"].values()
    assert file["sizeKB"] * 1024 == len(content) and file["primary"] is True
    assert (file["type"], file["metadata"]["format"]) == ("Model", "SafeTensor")
    url = f"{civitai.endpoint}/api/download/models/{version['id']}"
    assert version["downloadUrl"] == file["downloadUrl"] == url
    assert {type(image["nsfwLevel"]) for image in version["images"]} == {int}
    assert [(image["width"], image["height"]) for image in version["images"]] == [(16, 12)] * 3
    assert "prompt" not in json.dumps(version["images"]).replace("hasPositivePrompt", "")


def test_ids_do_not_depend_on_other_repositories(civitai: CivitaiClient, tmp_path: Path) -> None:
    before = civitai.model("ann/ink")
    civitai.hub.change({"day": 2, "license": ["ann/ink", "cc0-1.0"]})
    after = civitai.model("ann/ink")
    assert after["allowNoCredit"] and not before["allowNoCredit"]
    assert after["modelVersions"] == before["modelVersions"]
    assert len(civitai.list_all("models")) == len(REPOS)


def test_head_is_answered_as_get(civitai: CivitaiClient) -> None:
    for path in ("models", "images", "models/7"):
        head, get = civitai.client.head(path), civitai.client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Length"] == str(len(get.content))
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 101}, 400),
        ({"sort": "Best"}, 400),
        ({"types": "Lora"}, 400),
        ({"period": "Hour"}, 400),
        ({"cursor": "nonsense"}, 400),
    ],
    ids=str,
)
def test_invalid_query_is_refused(civitai: CivitaiClient, query: dict[str, Any], status: int) -> None:
    assert "error" in civitai.get("models", status=status, **query)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"baseModels": "Flux.1 D,Flux.1 S"}, []),
        ({"baseModels": "SDXL 1.0"}, []),
        ({"types": ["LoCon", "DoRA"]}, []),
        ({"limit": 0}, []),
    ],
    ids=str,
)
def test_models_are_filtered(civitai: CivitaiClient, query: dict[str, Any], names: list[str]) -> None:
    models = civitai.list_all("models", sort="Newest", **query)
    assert [model["name"] for model in models] == names


def test_change_of_license_does_not_change_the_order(civitai: CivitaiClient) -> None:
    civitai.hub.change({"license": ["ann/ink", "mit"]})
    assert civitai.list_all("models", sort="Newest")[-1]["name"] == "ink"
    civitai.hub.change({"touch": "ann/ink"})
    assert civitai.list_all("models", sort="Newest")[0]["name"] == "ink"
