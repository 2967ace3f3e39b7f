"""The directory of hubs: which names params.yaml may hold, and who answers to them."""

from collections.abc import Mapping
from pathlib import Path

from autolora.errors import HubError
from autolora.hubs import Hub
from autolora.hubs.civitai.client import FICKLE, Civitai
from autolora.hubs.folder.client import Folder
from autolora.hubs.http.endpoint import TOKENS, source_of
from autolora.hubs.huggingface.client import HuggingFace
from autolora.hubs.modelscope.client import ModelScope
from autolora.params import HubsParams


def tokens_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the tokens that an environment holds, by hub."""
    return {hub: environment[name] for hub, name in TOKENS.items() if environment.get(name)}


def open_hub(name: str, params: HubsParams, tokens: Mapping[str, str]) -> Hub:
    """Return the hub of that name; of the tokens, by hub, it is given its own. Nothing is asked yet.

    Raises HubError when there is no hub of that name, or params.yaml does not say where it is.
    """
    token = tokens.get(name)
    match name:
        case "civitai":
            return Civitai(source_of(name, params.civitai.endpoint, params, token, FICKLE))
        case "huggingface":
            return HuggingFace(source_of(name, params.huggingface.endpoint, params, token))
        case "modelscope":
            return ModelScope(source_of(name, params.modelscope.endpoint, params, token))
        case "folder" if params.folder.path:
            return Folder(Path(params.folder.path))
        case "folder":
            raise HubError("the hub folder has no place: name one as hubs.folder.path in params.yaml")
    raise HubError(f"the catalog names a hub {name!r} that AutoLoRA does not know; crawl again")
