"""The envelope of ModelScope's responses, which reports failures with any status.

    {"Code": 200, "Success": true, "Message": "success", "Data": {...}}
    {"Code": 10010205001, "Success": false, "Message": "...: record not found"}

Sources of these shapes: tests/hubs/answers/README.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from autolora.errors import HubError
from autolora.hubs.http.api import Unavailable, get_json
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.validation import short_repr

NO_MODEL, NO_ACCESS = 10010205001, 10010200001
"""values of Code: the model could not be read, for the reason in Message; it is private or gated"""
NOT_FOUND_MESSAGE = "record not found"
"""the reason if the model does not exist; any other one is a failure of the hub, such as an overload"""


def request_data(endpoint: Endpoint, url: str, query: Iterable[tuple[str, str]] = ()) -> Mapping[str, Any]:
    """Return the data object of a response; the hub's two API versions spell its key differently.

    The hub reports a missing model with status 404, or with status 200 and the same body. Raises Unavailable with
    status 404 in both cases, HubError if the hub could not look the model up or the response is not valid.
    """
    try:
        value = get_json(endpoint, url, query).value
    except Unavailable as error:
        if error.status == 404 and _is_hub_failure(error.value):
            raise HubError(f"{error}: {short_repr(error.value)}") from error
        raise
    if _is_not_found(value):
        raise Unavailable(f"hub {endpoint.name}: {url} returned {short_repr(value)}", 404, value=value)
    if isinstance(value, Mapping) and value.get("Success", value.get("success")) is not False:
        data = value.get("Data", value.get("data"))
        if isinstance(data, Mapping):
            return data
    raise HubError(f"hub {endpoint.name}: expected a data object from {url}, got {short_repr(value)}")


def _is_not_found(value: Any) -> bool:
    """Return whether a body states that a model does not exist or is not accessible."""
    if not isinstance(value, Mapping) or value.get("Success") is not False:
        return False
    is_missing = NOT_FOUND_MESSAGE in str(value.get("Message"))[:1000]
    return value.get("Code") == NO_ACCESS or (value.get("Code") == NO_MODEL and is_missing)


def _is_hub_failure(value: Any) -> bool:
    """Return whether the body of a status 404 names another reason than a missing model."""
    return isinstance(value, Mapping) and value.get("Code") == NO_MODEL and not _is_not_found(value)
