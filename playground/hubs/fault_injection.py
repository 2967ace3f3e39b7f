"""Fault injection: which requests an injected fault applies to, and what a fault function receives."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from playground.hubs.civitai.ids import CivitaiIds
from playground.hubs.http_messages import Api, Request, Response
from playground.hubs.repos import HUBS, Repo

JSON = ("listing", "info", "tree", "images")
BYTES = ("weights", "renderings", "file")
KINDS = (*JSON, "head", "download", *BYTES)
BODY_FAULTS = {"cut": "cut-body", "wrong": "wrong-bytes"}
"""short form `body` of an order -> fault"""


@dataclass(kw_only=True, slots=True)
class Injection:
    """One injected fault, for the next requests that match."""

    fault: str
    hub: str | None = None
    """None: any hub"""
    kind: str | None = None
    """None: any kind of request that the fault applies to"""
    path: str = ""
    """substring of the URL's path or of the repository's name"""
    times: int = 1
    """number of requests that fail"""
    after: int = 0
    """number of matching requests that pass first"""
    status: int | None = None
    """status code of the fault `status`"""
    retry_after: str | None = None
    """Retry-After header of the fault `status`"""
    seconds: float | None = None
    """duration, of faults that delay or that send Retry-After"""
    mb: int | None = None
    """size, of faults that send large bodies"""
    entry: str = ""
    """repository whose entry is corrupted, of faults in one entry; empty: the first of the page"""
    field: str = ""
    """field that is corrupted, of faults in fields; empty: all"""

    def matches(self, kinds: tuple[str, ...], hub: str, kind: str, label: str) -> bool:
        """Return whether a request triggers the fault.

        kinds: the kinds of request that the fault applies to; label: path and repository of the request.
        """
        return (
            self.times > 0
            and self.hub in (None, hub)
            and (kind == self.kind if self.kind else kind in kinds)
            and self.path in label
        )


class HubState(Protocol):
    """The part of the hub's state that faults use."""

    repos: dict[str, Repo]
    civitai_ids: CivitaiIds

    def visible(self, hub: str = ...) -> Iterator[Repo]: ...
    def change(self, order: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class FaultContext:
    """One request that triggered a fault."""

    hub: HubState
    api: Api
    request: Request
    injection: Injection
    reply: Callable[[Request], Response]

    def respond(self, **changes: Any) -> Response:
        """Return the regular response, to the request or to a changed one; its JSON value is a copy."""
        response = self.reply(replace(self.request, **changes))
        response.value = deepcopy(response.value)
        return response

    def encoded(self) -> Response:
        """Return the regular response, with its body encoded as bytes."""
        return self.respond().encode()


def read_injection(value: dict[str, Any], names: tuple[str, ...]) -> Injection:
    """Read the value of the order `fail`; `names`: the known faults.

    Raises ValueError or TypeError if it is not valid.
    """
    value = dict(value)
    body = value.pop("body", None)
    if "fault" not in value:
        value["fault"] = BODY_FAULTS[body] if body else "status"
    allowed_keys = [field.name for field in fields(Injection)]
    if unknown := value.keys() - set(allowed_keys):
        raise ValueError(f"unknown keys in 'fail': {sorted(unknown)}; expected some of {allowed_keys}")
    for name, convert in (("times", int), ("after", int), ("status", int), ("seconds", float), ("mb", int)):
        if value.get(name) is not None:
            value[name] = convert(value[name])
    if value.get("retry_after") is not None:
        value["retry_after"] = str(value["retry_after"])
    injection = Injection(**value)
    for key, given, allowed in (
        ("fault", injection.fault, names),
        ("hub", injection.hub, (None, *HUBS)),
        ("kind", injection.kind, (None, *KINDS)),
    ):
        if given not in allowed:
            expected = ", ".join(map(str, filter(None, allowed)))
            raise ValueError(f"unknown {key} {given!r}; expected one of {expected}")
    if injection.fault == "status" and injection.status is None:
        raise ValueError("the fault 'status' needs the key 'status'")
    return injection
