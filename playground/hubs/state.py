"""The state of the playground's hub: repositories, the current day, withdrawals, and injected faults."""

import datetime
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from playground.hubs.civitai.ids import CivitaiIds
from playground.hubs.fault_injection import Injection, read_injection
from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS, Repo, read_pool
from playground.hubs.request_counts import RequestCounts

LISTED_WITHDRAWALS = {
    "civitai": ("taken-down", "archived"),
    "huggingface": ("disabled",),
    "modelscope": (),
}
"""hub -> kinds of withdrawal after which it still lists the repository, marked as withdrawn"""
WITHDRAWALS = ("404", "410", *(kind for kinds in LISTED_WITHDRAWALS.values() for kind in kinds))
SPREAD_DAYS = 180
"""days over which the dates of the first day's repositories are spread by default (see `read_pool`)"""


class Hub:
    """The state that all three APIs serve; the server calls it from several threads."""

    def __init__(
        self, pool: Path, day: int, state: Path | None = None, page_size: int = 10, spread_days: int = 1
    ) -> None:
        self.repos = read_pool(pool, spread_days)
        self.civitai_ids = CivitaiIds(self.repos.values())
        self.counts = RequestCounts()
        self.page_size = page_size
        self.lifetime_s = 60.0
        """validity of a signed URL"""
        self.redirecting = {"civitai"}
        """hubs that redirect downloads to the storage"""
        self.storage = ""
        """URL of the storage while the hub is served"""
        self.ports: dict[str, int] = {}
        """hub -> port that serves this hub alone"""
        self.uploads: dict[str, bytes] = {}
        """sha256 -> content of uploaded LFS files"""
        self.listeners: list[BaseServer] = []
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._state_file = state / "hub.json" if state else None
        self._day = day
        self._withdrawals: dict[str, str] = {}
        self._changes: list[list[str]] = []
        self._injections: list[Injection] = []
        self._restore()

    def visible(self, hub: str = "huggingface") -> Iterator[Repo]:
        """Yield the repositories that a hub lists today."""
        return (repo for repo in self.repos.values() if self._is_visible(repo, hub))

    def find(self, repo_id: str, hub: str = "huggingface") -> Repo | None:
        """Return a repository if the hub lists it today."""
        repo = self.repos.get(repo_id)
        return repo if repo and self._is_visible(repo, hub) else None

    def add_repo(self, repo: Repo) -> None:
        """Add a repository that a client has created; it is lost when the process ends."""
        with self._lock:
            self.repos = {**self.repos, repo.id: repo}

    def withdrawal(self, repo_id: str) -> str | None:
        """Return the kind of withdrawal of a repository; None if it was not withdrawn."""
        return self._withdrawals.get(repo_id)

    def change(self, order: dict[str, Any]) -> None:
        """Carry out the JSON object of a POST /_playground.

        Raises KeyError, TypeError or ValueError if it is not valid.
        """
        with self._lock:
            for verb, value in order.items():
                match verb:
                    case "day":
                        self._day = int(value)
                    case "withdraw":
                        self._withdraw(*([value] if isinstance(value, str) else value))
                    case "license":
                        self._add_commit(value[0], value[1], _now())
                    case "touch":
                        self._add_commit(value, "", _now())
                    case "redirect":
                        self.redirecting = {"civitai", *map(_checked_hub, value)}
                    case "lifetime":
                        self.lifetime_s = float(value)
                    case "fail":
                        self._inject(value)
                    case "heal":
                        self._injections.clear()
                    case "reset":
                        self.counts.clear()
                    case _:
                        raise ValueError(f"unknown order {verb!r}; playground/README.md lists them")
            self._save()

    def requests(self) -> dict[str, Any]:
        """Return the counts of requests since the last reset (see `RequestCounts.read`)."""
        return self.counts.read()

    def take_injection(self, hub: str, kind: str, label: str) -> Injection | None:
        """Return the injected fault that this request triggers, if any, and decrement its counter."""
        with self._lock:
            for injection in self._injections:
                if not injection.matches(FAULTS[injection.fault].kinds, hub, kind, label):
                    continue
                if injection.after:
                    injection.after -= 1
                    continue
                injection.times -= 1
                return injection
        return None

    def stop(self) -> None:
        """Stop all listeners, and end every response that waits."""
        self.stopping.set()
        for listener in self.listeners:
            listener.shutdown()
            listener.server_close()
        self.listeners.clear()

    def _is_visible(self, repo: Repo, hub: str) -> bool:
        kind = self._withdrawals.get(repo.id)
        return (
            repo.day <= self._day and hub in repo.hubs and (kind is None or kind in LISTED_WITHDRAWALS[hub])
        )

    def _withdraw(self, repo_id: str, kind: str = "404") -> None:
        if kind not in WITHDRAWALS:
            raise ValueError(f"unknown withdrawal {kind!r}; expected one of {', '.join(WITHDRAWALS)}")
        self._withdrawals[self.repos[repo_id].id] = kind

    def _inject(self, value: dict[str, Any]) -> None:
        injection = read_injection(value, tuple(FAULTS))
        if injection.entry and injection.entry not in self.repos:
            raise ValueError(f"unknown repository {injection.entry!r}")
        self._injections.append(injection)

    def _add_commit(self, repo_id: str, license: str, date: str) -> None:
        """Change a repository's license or, if `license` is empty, publish it again; log the change."""
        repo = self.repos[repo_id]
        if license:
            repo.relicense(license, date)
        else:
            repo.touch(date)
        self._changes.append([repo_id, license, date])

    def _save(self) -> None:
        if self._state_file:
            state = {"day": self._day, "withdrawn": self._withdrawals, "changes": self._changes}
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._state_file.with_suffix(".new")
            fresh.write_text(json.dumps(state, indent=2) + "\n")
            fresh.replace(self._state_file)

    def _restore(self) -> None:
        if self._state_file and self._state_file.exists():
            state = json.loads(self._state_file.read_text())
            self._day, self._withdrawals = state["day"], state["withdrawn"]
            for change in state["changes"]:
                self._add_commit(*change)


def _checked_hub(hub: str) -> str:
    if hub not in HUBS:
        raise ValueError(f"unknown hub {hub!r}; expected one of {', '.join(HUBS)}")
    return hub


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
