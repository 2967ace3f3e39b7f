"""The playground's hub: a loopback server that speaks three hubs' APIs over playground/pool.

python -m playground.hub [--port 8765] [--pool playground/pool] [--day 1] [--spread-days 180]
                         [--page-size 10] [--state DIR] [--civitai-port N] [--modelscope-port N] [--verbose]
python -m playground.hub --list-faults

Hugging Face's API lies at /, Civitai's at /civitai and ModelScope's at /modelscope; files that a hub redirects to
lie on a second port, under another host name. What is visible follows a calendar: a repository is there from the
day its line of schedule.jsonl names. A small route of its own, POST /_playground, lets tests and the demo turn the
calendar, withdraw and relicense, and make the hub misbehave; README.md lists it.
"""

import argparse
import datetime
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playground.hubs.civitai.numbers import Numbers
from playground.hubs.counts import Counts
from playground.hubs.exchange import Api
from playground.hubs.faults import FAULTS, list_faults
from playground.hubs.orders import Order, read_order
from playground.hubs.repos import HUBS, Repo, open_pool
from playground.hubs.server import MAIN, STORAGE, Handler, Server

logger = logging.getLogger(__name__)

STILL_SHOWN = {"civitai": ("taken-down", "archived"), "huggingface": ("disabled",), "modelscope": ()}
"""hub -> ways of being withdrawn in which it still tells of a repository"""
SPREAD_DAYS = 180
"""days over which the pool that is there on the first day has grown; schedule.jsonl has it come on that one day"""
WITHDRAWALS = ("404", "410", *(how for ways in STILL_SHOWN.values() for how in ways))


class Hub:
    """The state of the hub: repositories, the day, what was withdrawn, and what was asked."""

    def __init__(
        self, pool: Path, day: int, state: Path | None = None, page_size: int = 10, spread_days: int = 1
    ) -> None:
        self.repos = open_pool(pool, spread_days)
        self.numbers = Numbers(self.repos.values())
        self.counts = Counts()
        self.page_size = page_size
        self.lifetime_s = 60.0
        """of a signed URL"""
        self.redirecting = {"civitai"}
        """hubs that send downloads to the storage"""
        self.storage = ""
        """URL of the storage, while the hub runs"""
        self.ports: dict[str, int] = {}
        """hub -> the port that serves it alone"""
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._state_file = state / "hub.json" if state else None
        self._day = day
        self._withdrawn: dict[str, str] = {}
        self._changes: list[list[str]] = []
        self._orders: list[Order] = []
        self._servers: list[Server] = []
        self._remember()

    def visible(self, hub: str = "huggingface") -> Iterator[Repo]:
        """Yield a hub's repositories of the days up to today that it still shows."""
        return (repo for repo in self.repos.values() if self._is_visible(repo, hub))

    def find(self, repo_id: str, hub: str = "huggingface") -> Repo | None:
        """Return a visible repository."""
        repo = self.repos.get(repo_id)
        return repo if repo and self._is_visible(repo, hub) else None

    def withdrawn(self, repo_id: str) -> str | None:
        """Return how a repository was withdrawn; None where it was not."""
        return self._withdrawn.get(repo_id)

    def change(self, order: dict[str, Any]) -> None:
        """Carry out one order of POST /_playground; KeyError, TypeError or ValueError when it is none."""
        with self._lock:
            for verb, value in order.items():
                match verb:
                    case "day":
                        self._day = int(value)
                    case "withdraw":
                        self._withdraw(*([value] if isinstance(value, str) else value))
                    case "license":
                        self._alter(value[0], value[1], _now())
                    case "touch":
                        self._alter(value, "", _now())
                    case "redirect":
                        self.redirecting = {"civitai", *map(_known, value)}
                    case "lifetime":
                        self.lifetime_s = float(value)
                    case "fail":
                        self._fail(value)
                    case "heal":
                        self._orders.clear()
                    case "reset":
                        self.counts.clear()
                    case _:
                        raise ValueError(f"unknown order {verb!r}; README.md lists them")
            self._save()

    def requests(self) -> dict[str, Any]:
        """Return how often each kind of request was made since the last reset, and each (`paths`).

        Hugging Face's counts come first; those of the other hubs that were asked lie under their names.
        """
        return self.counts.read()

    def due(self, hub: str, kind: str, label: str) -> Order | None:
        """Return the order to misbehave that is due for this request, and use it up."""
        with self._lock:
            for order in self._orders:
                if not order.fits(FAULTS[order.fault].kinds, hub, kind, label):
                    continue
                if order.after:
                    order.after -= 1
                    continue
                order.times -= 1
                return order
        return None

    def start(self, port: int = 0, own_ports: dict[str, int] | None = None) -> str:
        """Listen on loopback and serve in the background; return the endpoint (URL).

        port: 0 for any that is free; the storage takes the next one, so that its URLs outlive a restart.
        own_ports: hub -> a further port that serves it alone, without its prefix.
        """
        self.stopping.clear()
        self.storage = f"http://localhost:{self._listen(port and port + 1, STORAGE)}"
        endpoint = f"http://127.0.0.1:{self._listen(port, MAIN)}"
        for hub, own in (own_ports or {}).items():
            (api,) = (api for api in MAIN if api.name == hub)
            self.ports[hub] = self._listen(own, (api,), api.prefix)
        return endpoint

    def stop(self) -> None:
        """Stop listening, and whatever takes its time."""
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def _listen(self, port: int, apis: tuple[Api, ...], root: str = "") -> int:
        bound = type("BoundHandler", (Handler,), {"hub": self, "apis": apis, "root": root})
        server = Server(("127.0.0.1", port), bound)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server.server_port

    def _is_visible(self, repo: Repo, hub: str) -> bool:
        how = self._withdrawn.get(repo.id)
        return repo.day <= self._day and hub in repo.hubs and (how is None or how in STILL_SHOWN[hub])

    def _withdraw(self, repo_id: str, how: str = "404") -> None:
        if how not in WITHDRAWALS:
            raise ValueError(f"cannot withdraw by {how!r}: {', '.join(WITHDRAWALS)}")
        self._withdrawn[self.repos[repo_id].id] = how

    def _fail(self, value: dict[str, Any]) -> None:
        order = read_order(value, tuple(FAULTS))
        if order.entry and order.entry not in self.repos:
            raise ValueError(f"no repository {order.entry!r}")
        self._orders.append(order)

    def _alter(self, repo_id: str, license: str, date: str) -> None:
        """Relicense a repository or, without a license, publish it again; and remember it."""
        repo = self.repos[repo_id]
        if license:
            repo.relicense(license, date)
        else:
            repo.touch(date)
        self._changes.append([repo_id, license, date])

    def _save(self) -> None:
        if self._state_file:
            state = {"day": self._day, "withdrawn": self._withdrawn, "changes": self._changes}
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._state_file.with_suffix(".new")
            fresh.write_text(json.dumps(state, indent=2) + "\n")
            fresh.replace(self._state_file)

    def _remember(self) -> None:
        if self._state_file and self._state_file.exists():
            state = json.loads(self._state_file.read_text())
            self._day, self._withdrawn = state["day"], state["withdrawn"]
            for change in state["changes"]:
                self._alter(*change)


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve within a `with` block and yield the endpoint."""
    try:
        yield hub.start()
    finally:
        hub.stop()


def _known(hub: str) -> str:
    if hub not in HUBS:
        raise ValueError(f"no hub {hub!r}: {', '.join(HUBS)}")
    return hub


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A loopback hub over the playground's pool.")
    parser.add_argument("--port", type=int, default=8765, help="0: any that is free")
    parser.add_argument(
        "--civitai-port", type=int, help="a further port that serves Civitai without a prefix"
    )
    parser.add_argument("--modelscope-port", type=int, help="and one for ModelScope")
    parser.add_argument("--pool", type=Path, default=Path("playground/pool"))
    parser.add_argument("--day", type=int, default=1, help="ignored where --state remembers one")
    parser.add_argument(
        "--spread-days", type=int, default=SPREAD_DAYS, help="over which the first day's dates lie"
    )
    parser.add_argument("--state", type=Path, help="folder that keeps day, withdrawals, licenses")
    parser.add_argument("--page-size", type=int, default=10, help="entries of a page of a list, at most")
    parser.add_argument("--verbose", action="store_true", help="log every request to stderr")
    parser.add_argument("--list-faults", action="store_true", help="print how the hub can misbehave, and end")
    options = parser.parse_args()
    if options.list_faults:
        return print(list_faults())
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    hub = Hub(options.pool, options.day, options.state, options.page_size, options.spread_days)
    own = {"civitai": options.civitai_port, "modelscope": options.modelscope_port}
    try:
        endpoint = hub.start(options.port, {name: port for name, port in own.items() if port is not None})
    except OSError as error:
        raise SystemExit(f"cannot listen on port {options.port}: {error}; is another hub running?") from error
    logger.info("hub at %s", endpoint)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        hub.stop()


if __name__ == "__main__":
    main()
