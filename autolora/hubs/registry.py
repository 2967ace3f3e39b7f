"""The hubs that params.yaml may name, and the client of each."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from autolora.errors import HubError, rerun
from autolora.hubs import Hub
from autolora.hubs.civitai.client import TRANSIENT_DOWNLOAD_STATUSES, Civitai
from autolora.hubs.folder.client import Folder
from autolora.hubs.http.endpoint import TOKEN_VARIABLES, make_endpoint
from autolora.hubs.huggingface.client import HuggingFace
from autolora.hubs.modelscope.client import ModelScope
from autolora.params import HubsParams


def tokens_from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return hub name -> access token for each token variable that is set and not empty."""
    return {
        hub: environment[variable] for hub, variable in TOKEN_VARIABLES.items() if environment.get(variable)
    }


def open_hub(name: str, params: HubsParams, tokens: Mapping[str, str], is_own: bool = True) -> Hub:
    """Return the client of a hub, without sending a request.

    tokens: hub name -> access token; the client receives only the token of its own hub. is_own: whether the user has
    chosen the endpoints; others are asked by https at public addresses only.
    Raises HubError if the name is unknown or params.yaml does not state the hub's location.
    """
    endpoint = partial(make_endpoint, name, params=params, token=tokens.get(name), is_own=is_own)
    match name:
        case "civitai":
            return Civitai(endpoint(params.civitai.endpoint, transient_statuses=TRANSIENT_DOWNLOAD_STATUSES))
        case "huggingface":
            return HuggingFace(endpoint(params.huggingface.endpoint))
        case "modelscope":
            return ModelScope(endpoint(params.modelscope.endpoint))
        case "folder" if params.folder.path:
            return Folder(Path(params.folder.path).expanduser())
        case "folder":
            raise HubError("hub folder: hubs.folder.path is null: set it to a folder in params.yaml")
    raise HubError(f"hub {name!r} is in the catalog but unknown to AutoLoRA: {rerun('crawl')}")
