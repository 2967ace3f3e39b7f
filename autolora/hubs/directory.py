"""The directory of hubs: which names params.yaml may hold, and who answers to them."""

from autolora.errors import HubError
from autolora.hubs import Hub
from autolora.hubs.huggingface import HuggingFace
from autolora.params import HubsParams


def open_hub(name: str, params: HubsParams, token: str | None) -> Hub:
    """Return the hub of that name; `token` is the user's, sent to that hub alone. Nothing is asked yet.

    Raises HubError when there is no hub of that name.
    """
    if name != "huggingface":
        raise HubError(f"the catalog names a hub {name!r} that AutoLoRA does not know; crawl again")
    endpoint = params.huggingface.endpoint.rstrip("/")
    return HuggingFace(endpoint, params.timeout_s, params.attempts, token or None)
