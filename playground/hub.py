"""The playground's hub: a loopback server that speaks the Hugging Face Hub API over playground/pool.

python -m playground.hub [--port 8765] [--pool playground/pool] [--day 1] [--state DIR] [--verbose]

What is visible follows a calendar: a repository is there from the day its line of schedule.jsonl names. A
small route of its own, POST /_playground, lets tests and the demo turn the calendar, withdraw and relicense,
and make the hub misbehave; README.md lists it.
"""

import argparse
import datetime
import json
import logging
import socket
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playground.repos import Repo, open_pool
from playground.routes import Handler

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Fault:
    """How the hub misbehaves, and how often still."""

    kind: str
    """listing, info, tree, head, weights, renderings or file"""
    path: str
    """a part of the URL's path"""
    status: int | None
    """answer this status"""
    retry_after: str | None
    """with this header"""
    body: str | None
    """or deliver a `wrong` body of the right length, or one that is `cut` in the middle"""
    times: int


class Hub:
    """The state of the hub: repositories, the day, what was withdrawn, and what was asked."""

    def __init__(self, pool: Path, day: int, state: Path | None = None, page_size: int = 10) -> None:
        self.repos = open_pool(pool)
        self.page_size = page_size
        self.lock = threading.RLock()
        self._state_file = state / "hub.json" if state else None
        self._day = day
        self._withdrawn: set[str] = set()
        self._licences: list[list[str]] = []
        self._faults: list[Fault] = []
        self._requests: Counter[tuple[str, str]] = Counter()
        self._server: ThreadingHTTPServer | None = None
        self._remember()

    def visible(self) -> Iterator[Repo]:
        """Yield the repositories of the days up to today that were not withdrawn."""
        for repo in self.repos.values():
            if repo.day <= self._day and repo.id not in self._withdrawn:
                yield repo

    def find(self, repo_id: str) -> Repo | None:
        """Return a visible repository."""
        return next((repo for repo in self.visible() if repo.id == repo_id), None)

    def change(self, order: dict[str, Any]) -> None:
        """Carry out one order of POST /_playground; KeyError or ValueError when it is none."""
        with self.lock:
            for verb, value in order.items():
                match verb:
                    case "day":
                        self._day = int(value)
                    case "withdraw":
                        self._withdrawn.add(self.repos[value].id)
                    case "licence":
                        self._relicense(value[0], value[1], _now())
                    case "fail":
                        self._faults.append(_fault(value))
                    case "reset":
                        self._requests.clear()
                    case _:
                        raise ValueError(f"unknown order {verb!r}: day, withdraw, licence, fail or reset")
            self._save()

    def count(self, kind: str, request: str) -> None:
        """Count one request, e.g. kind `weights`, request `GET /ann/ink/resolve/main/lora.safetensors`."""
        with self.lock:
            self._requests[kind, request] += 1

    def requests(self) -> dict[str, Any]:
        """Return how often each kind of request was made since the last reset, and each (`paths`)."""
        with self.lock:
            kinds: Counter[str] = Counter()
            for (kind, _), times in self._requests.items():
                kinds[kind] += times
            paths = {request: times for (_, request), times in sorted(self._requests.items())}
            return {**kinds, "paths": paths}

    def fault(self, kind: str, path: str) -> Fault | None:
        """Return the misbehaviour due for this request and use it up."""
        with self.lock:
            for fault in self._faults:
                if fault.times > 0 and fault.kind == kind and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def start(self, port: int = 0) -> str:
        """Listen on loopback and serve in the background; return the endpoint (URL)."""
        self._server = _Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"hub": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _relicense(self, repo_id: str, licence: str, date: str) -> None:
        self.repos[repo_id].relicense(licence, date)
        self._licences.append([repo_id, licence, date])

    def _save(self) -> None:
        if self._state_file:
            state = {"day": self._day, "withdrawn": sorted(self._withdrawn), "licences": self._licences}
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._state_file.with_suffix(".new")
            fresh.write_text(json.dumps(state, indent=2) + "\n")
            fresh.replace(self._state_file)

    def _remember(self) -> None:
        if self._state_file and self._state_file.exists():
            state = json.loads(self._state_file.read_text())
            self._day, self._withdrawn = state["day"], set(state["withdrawn"])
            for repo_id, licence, date in state["licences"]:
                self._relicense(repo_id, licence, date)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without asking the name service for the host's full name, which can take seconds."""
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def server_close(self) -> None:
        """Close the port and every connection that a client keeps open."""
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve within a `with` block and yield the endpoint."""
    try:
        yield hub.start()
    finally:
        hub.stop()


def _fault(value: dict[str, Any]) -> Fault:
    allowed = {"kind", "path", "status", "retry_after", "body", "times"}
    if unknown := value.keys() - allowed:
        raise ValueError(f"unknown in 'fail': {sorted(unknown)}; allowed: {sorted(allowed)}")
    status, retry_after = value.get("status"), value.get("retry_after")
    return Fault(
        kind=value["kind"],
        path=value.get("path", ""),
        status=None if status is None else int(status),
        retry_after=None if retry_after is None else str(retry_after),
        body=value.get("body"),
        times=int(value.get("times", 1)),
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A loopback hub over the playground's pool.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--pool", type=Path, default=Path("playground/pool"))
    parser.add_argument("--day", type=int, default=1, help="ignored where --state remembers one")
    parser.add_argument("--state", type=Path, help="folder that keeps day, withdrawals, licences")
    parser.add_argument("--verbose", action="store_true", help="log every request to stderr")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    hub = Hub(options.pool, options.day, options.state)
    try:
        logger.info("hub at %s", hub.start(options.port))
    except OSError as error:
        raise SystemExit(f"cannot listen on port {options.port}: {error}; is another hub running?") from error
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        hub.stop()


if __name__ == "__main__":
    main()
