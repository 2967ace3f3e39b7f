"""The pages of models on their hubs."""

from urllib.parse import quote

import httpx2

from autolora.hubs.http.endpoint import is_local
from autolora.params import HubParams, HubsParams


def page_of(hubs: HubsParams, hub: str, id: str) -> str | None:
    """Return the URL of an adapter's page on its hub; None for a folder of files, and for a hub of this machine.

    An id is text from a hub: it is quoted, so that it can name nothing but a page below the hub's endpoint. A hub of
    this machine, such as the demo's, has stopped by the time that somebody looks.
    """
    endpoint = _endpoint(hubs, hub)
    if endpoint is None or local_hub(hubs, hub):
        return None
    return f"{endpoint}{'' if hub == 'huggingface' else '/models'}/{quote(id, safe='/')}"


def local_hub(hubs: HubsParams, hub: str) -> str | None:
    """Return the endpoint of a hub if it is on this machine; None for others, and for a folder of files."""
    endpoint = _endpoint(hubs, hub)
    return endpoint if endpoint and is_local(httpx2.URL(endpoint)) else None


def _endpoint(hubs: HubsParams, hub: str) -> str | None:
    section = getattr(hubs, hub, None)
    return section.endpoint if isinstance(section, HubParams) else None
