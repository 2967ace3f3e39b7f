"""The pages of models on their hubs."""

from urllib.parse import quote

from autolora.params import HubsParams


def page_of(hubs: HubsParams, hub: str, id: str) -> str | None:
    """Return the URL of an adapter's page on its hub; None for a folder of files.

    An id is text from a hub: it is quoted, so that it can name nothing but a page below the hub's endpoint.
    """
    path = quote(id, safe="/")
    pages = {
        "civitai": f"{hubs.civitai.endpoint}/models/{path}",
        "huggingface": f"{hubs.huggingface.endpoint}/{path}",
        "modelscope": f"{hubs.modelscope.endpoint}/models/{path}",
    }
    return pages.get(hub)
