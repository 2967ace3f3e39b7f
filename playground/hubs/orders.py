"""Orders to misbehave: what is to go wrong, where and how often; and the calls that they meet."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from playground.hubs.exchange import Answer, Api, Request
from playground.hubs.repos import HUBS

if TYPE_CHECKING:
    from playground.hub import Hub

JSON = ("listing", "search", "info", "tree", "images")
BYTES = ("weights", "renderings", "file")
KINDS = (*JSON, "head", "download", *BYTES)
OLD_BODIES = {"cut": "cut-body", "wrong": "wrong-bytes"}


@dataclass(kw_only=True, slots=True)
class Order:
    """One order: a fault for the next requests that fit."""

    fault: str
    hub: str | None = None
    """any where none is named"""
    kind: str | None = None
    """any that the fault is made for where none is named"""
    path: str = ""
    """a part of the URL's path, or of the repository's name"""
    times: int = 1
    after: int = 0
    """let so many requests that fit pass first"""
    status: int | None = None
    """of `status`"""
    retry_after: str | None = None
    """of `status`; the header"""
    seconds: float | None = None
    """of faults that take time, and of Retry-After"""
    mb: int | None = None
    """of faults that are large"""
    entry: str = ""
    """of faults in one entry: the repository; the first of the page where none is named"""
    field: str = ""
    """of faults in fields: only this one"""

    def fits(self, kinds: tuple[str, ...], hub: str, kind: str, label: str) -> bool:
        """Whether the order is meant for a request; `kinds`: what its fault is made for."""
        return (
            self.times > 0
            and self.hub in (None, hub)
            and (kind == self.kind if self.kind else kind in kinds)
            and self.path in label
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is to go wrong."""

    hub: "Hub"
    api: Api
    request: Request
    order: Order
    route: Callable[[Request], Answer]

    def answer(self, **changes: Any) -> Answer:
        """Return what the route answers, to the request or to a changed one; its value is the caller's own."""
        answer = self.route(replace(self.request, **changes))
        answer.value = deepcopy(answer.value)
        return answer

    def encoded(self) -> Answer:
        """Return what the route answers, as the bytes of a body."""
        return self.answer().encode()


def read_order(value: dict[str, Any], names: tuple[str, ...]) -> Order:
    """Read the value of `fail`; `names`: the faults that there are.

    Raises ValueError or TypeError when it is no order.
    """
    value = dict(value)
    body = value.pop("body", None)
    if "fault" not in value:
        value["fault"] = OLD_BODIES[body] if body else "status"
    if unknown := value.keys() - {field.name for field in fields(Order)}:
        raise ValueError(f"unknown in 'fail': {sorted(unknown)}; allowed: {[f.name for f in fields(Order)]}")
    for name, convert in (("times", int), ("after", int), ("status", int), ("seconds", float), ("mb", int)):
        if value.get(name) is not None:
            value[name] = convert(value[name])
    if value.get("retry_after") is not None:
        value["retry_after"] = str(value["retry_after"])
    order = Order(**value)
    for what, said, allowed in (
        ("fault", order.fault, names),
        ("hub", order.hub, (None, *HUBS)),
        ("kind", order.kind, (None, *KINDS)),
    ):
        if said not in allowed:
            raise ValueError(f"no {what} {said!r}: {', '.join(map(str, filter(None, allowed)))}")
    if order.fault == "status" and order.status is None:
        raise ValueError("the fault 'status' wants a status")
    return order
