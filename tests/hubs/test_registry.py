"""The directory of hubs: names, places and tokens."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import HubError
from autolora.hubs.folder.client import Folder
from autolora.hubs.registry import TOKENS, open_hub, tokens_in
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


@pytest.mark.parametrize("name", TOKENS)
def test_each_hub_is_given_its_own_token(name: str) -> None:
    tokens = tokens_in({variable: f"secret of {hub}" for hub, variable in TOKENS.items()} | {"PATH": "x"})
    hub = open_hub(name, PARAMS, tokens)
    source = hub.source  # type: ignore[attr-defined]
    assert (hub.name, source.endpoint, source.token) == (name, f"http://{name}", f"secret of {name}")
    assert "secret" not in repr(hub)
    assert open_hub(name, PARAMS, {"other": "secret"}).source.token is None  # type: ignore[attr-defined]


def test_an_empty_variable_is_no_token() -> None:
    assert tokens_in({"HF_TOKEN": ""}) == {}


def test_a_folder_is_a_hub() -> None:
    assert open_hub("folder", PARAMS, {}) == Folder(Path("loras"))


def test_hubs_that_are_nowhere() -> None:
    with pytest.raises(HubError, match=r"name one as hubs\.folder\.path"):
        open_hub("folder", replace(PARAMS, folder=FolderParams(path=None)), {})
    with pytest.raises(HubError, match="does not know"):
        open_hub("elsewhere", PARAMS, {})
