"""The registry of hubs: names, endpoints and tokens."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import HubError
from autolora.hubs.folder.client import Folder
from autolora.hubs.http.endpoint import TOKEN_VARIABLES
from autolora.hubs.registry import open_hub, tokens_from_environment
from autolora.params import FolderParams, HubParams, HubsParams

PARAMS = HubsParams(
    civitai=HubParams(endpoint="http://civitai/"),
    huggingface=HubParams(endpoint="http://huggingface/"),
    modelscope=HubParams(endpoint="http://modelscope"),
    folder=FolderParams(path="loras"),
    timeout_s=3.0,
    attempts=2,
    downloads=4,
    requests_per_s=100.0,
    max_mb_per_s=None,
    min_kb_per_s=1.0,
)


@pytest.mark.parametrize("name", TOKEN_VARIABLES)
def test_each_hub_receives_only_its_own_token(name: str) -> None:
    environment = {variable: f"secret of {hub}" for hub, variable in TOKEN_VARIABLES.items()}
    tokens = tokens_from_environment(environment | {"PATH": "x"})
    hub = open_hub(name, PARAMS, tokens)
    endpoint = hub.endpoint  # type: ignore[attr-defined]
    assert (hub.name, endpoint.url, endpoint.token) == (name, f"http://{name}", f"secret of {name}")
    assert "secret" not in repr(hub)
    assert open_hub(name, PARAMS, {"other": "secret"}).endpoint.token is None  # type: ignore[attr-defined]


def test_empty_variable_is_no_token() -> None:
    assert tokens_from_environment({"HF_TOKEN": ""}) == {}


def test_opens_a_folder_as_a_hub() -> None:
    assert open_hub("folder", PARAMS, {}) == Folder(Path("loras"))


def test_a_folder_may_be_in_the_home_directory() -> None:
    home = open_hub("folder", replace(PARAMS, folder=FolderParams(path="~/loras")), {})
    assert home == Folder(Path.home() / "loras")


def test_rejects_a_folder_without_a_path_and_an_unknown_hub() -> None:
    with pytest.raises(HubError, match=r"hubs\.folder\.path is null"):
        open_hub("folder", replace(PARAMS, folder=FolderParams(path=None)), {})
    with pytest.raises(HubError, match="unknown to AutoLoRA"):
        open_hub("elsewhere", PARAMS, {})
