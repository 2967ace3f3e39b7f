"""The test bed: a project with its remotes, three hubs, a captioner, and what is broken in a night."""

import datetime
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from autolora.index.served import open_index
from autolora.params import load
from bench.nights.plan import EXTRA, PLAN, Night
from playground.demo import prefect_server
from playground.hubs.repos import HUBS, describe, make_commit
from playground.hubs.server import start
from playground.hubs.state import SPREAD_DAYS, Hub
from playground.pool import BAD
from playground.repository import (
    IDENTITY,
    ROOT,
    TEST_PARAMS,
    Repository,
    change_params,
    copy_tree,
    free_port,
    kill_tree,
)
from playground.vlm.serving import CaptionServer

HUB_OF = ("huggingface", "huggingface", "huggingface", "civitai", "modelscope")
"""hubs of the adapters, in turn"""
SAME_TEXT = "a picture of something"
DISK_BLOCKS = 140
"""kilobytes that a file may have when the disk is full"""
TAKEN_DOWN = 20
"""row of the served index whose adapter is taken down"""
KILL_AT, CUT_TIMES, EVER = "Running stage 'captions'", 6, 10**6
NOISE = 1e-3
"""of a near-duplicate, relative to its weights"""
VERSION_NOISE = 0.3
"""of a new version, relative to the weights of another adapter"""
BUG = """
import sys
if "flows.index" in sys.orig_argv:
    import numpy as np
    from autolora.index import stage
    plan, embed = stage.IndexSync.plan, stage.embed
    def everything(self, batch=64):
        return stage.Plan(embed=(tuple(self.expected),), update=(), remove=plan(self).remove)
    def altered(*arguments):
        vectors = embed(*arguments)
        vectors = vectors + 0.1 * np.roll(vectors, 1, axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    stage.IndexSync.plan, stage.embed = everything, altered
"""
"""a sitecustomize.py: the stage `index` embeds all adapters again, and mixes neighbouring numbers of each vector"""
RESTORED = ("data/catalog", "data/watermarks.json", "dvc.lock", "digests", "metrics")
"""what an operator takes from the last commit if what a refused run has built is wrong"""


@dataclass
class Site:
    """A running test bed."""

    folder: Path
    repository: Repository
    hub: Hub
    captioner: CaptionServer
    captioner_port: int

    @property
    def root(self) -> Path:
        """The root of the project."""
        return self.repository.root

    def command(self, *arguments: str, day: int, **environment: str) -> str:
        """Run a command of the operator, which must succeed, and return its output."""
        return self.repository.run(*arguments, day=day, check=True, **IDENTITY | environment).stdout

    def tags(self) -> list[str]:
        """Return the names of the releases, in the order in which they were made."""
        names = self.command("git", "tag", "--list", "release/*", "--sort=creatordate", day=1)
        return names.split()


@contextmanager
def opened(folder: Path) -> Iterator[Site]:
    """Make the test bed if it does not exist, and run its servers until the block ends."""
    root = folder / "project"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder)
    params = load(root / "params.yaml")
    endpoint = params.hubs.huggingface.endpoint
    hub, port = Hub(root / "playground/pool", day=0), urlsplit(params.vllm.urls[0]).port
    assert port is not None
    with prefect_server() as api:
        site = Site(folder, Repository(root, endpoint, api), hub, CaptionServer(params), port)
        try:
            yield site
        finally:
            site.hub.stop()


def publish(site: Site, night: int) -> None:
    """Let the hubs be as in a night: its repositories, and the changes of all nights up to it, from the beginning."""
    site.hub.stop()
    site.hub = Hub(site.root / "playground/pool", day=night, spread_days=SPREAD_DAYS)
    for number in range(1, night + 1):
        for position, change in enumerate(PLAN[number - 1].changes):
            if change not in EXTRA:
                change_hub(site.hub, change, number, position)
    start(site.hub, urlsplit(site.repository.endpoint).port or 0)


@contextmanager
def broken(site: Site, night: Night) -> Iterator[dict[str, str]]:
    """Break what a night breaks, and yield variables of the environment of its refresh."""
    site.captioner.reply = (lambda _: SAME_TEXT) if night.hazard == "same caption" else None
    for fault in _faults(night):
        site.hub.change({"fail": fault})
    bug = site.folder / "bug"
    bug.mkdir(exist_ok=True)
    (bug / "sitecustomize.py").write_text(BUG)
    is_served = night.hazard != "no captioner"
    with site.captioner.running(site.captioner_port) if is_served else nullcontext():
        yield {"PYTHONPATH": f"{bug}{os.pathsep}{site.root}"} if night.hazard == "bug" else {}
    site.hub.change({"heal": True})


def refresh(site: Site, night: Night, day: int, variables: Mapping[str, str], log: Path) -> int:
    """Refresh as on a day, and return the exit status; the output goes to a file."""
    prefix = ["bash", "-c", f'ulimit -f {DISK_BLOCKS}; exec "$@"', "-"] if night.hazard == "disk" else []
    command = [*prefix, "python", "-m", "autolora", "refresh"]
    environment = site.repository.environment(day) | IDENTITY | dict(variables)
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=site.root, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
        if night.hazard == "kill":
            while process.poll() is None and KILL_AT not in log.read_text():
                time.sleep(0.1)
            kill_tree(process.pid)
        return process.wait()


def act(site: Site, action: str, day: int) -> None:
    """Do what the operator does before a night."""
    reason = ("--reason", "as planned")
    match action:
        case "restore":
            site.command("git", "checkout", "-q", "HEAD", "--", *RESTORED, day=day)
            site.command("dvc", "checkout", "--force", "--quiet", day=day)
        case "promote":
            site.command("python", "-m", "autolora", "versions", "promote", *reason, day=day)
        case "take down":
            row = open_index(site.root).rows[TAKEN_DOWN]
            name = f"{row['hub']}:{row['id']}"
            site.command("python", "-m", "autolora", "takedown", name, *reason, "--apply", day=day)
            files = ("data/takedowns.jsonl", "data/catalog", "data/pool", "dvc.lock")
            site.command("git", "add", *files, day=day)
            site.command("git", "commit", "-q", "-m", f"Take down {name}", day=day)
        case "roll back":
            site.command(
                "python", "-m", "autolora", "versions", "rollback", site.tags()[-2], *reason, day=day
            )
        case "lift":
            site.command("python", "-m", "autolora", "versions", "lift", day=day)


def _make(folder: Path) -> None:
    """Make the project with its remotes, and its hubs' pool; a file marks that it is complete."""
    root, ports = folder / "project", (free_port(), free_port())
    root.mkdir(parents=True)
    copy_tree(root)
    write_pool(root / "playground/pool")
    endpoint = f"http://127.0.0.1:{ports[0]}"
    hubs: dict[str, Any] = {
        "huggingface": {"endpoint": endpoint},
        "civitai": {"endpoint": f"{endpoint}/civitai"},
        "modelscope": {"endpoint": f"{endpoint}/modelscope"},
        "attempts": 2,
    }
    changes = TEST_PARAMS | {
        "hubs": hubs, "refresh": {"commit": True}, "vllm": {"urls": [f"http://127.0.0.1:{ports[1]}/v1"]},
        "captions": {"engine": "vllm"}, "crawl": {**TEST_PARAMS["crawl"], "hubs": list(HUBS)},
    }  # fmt: skip
    change_params(root / "params.yaml", changes)
    repository = Repository(root, endpoint, "")
    repository.run("git", "init", "-q")
    repository.run("dvc", "remote", "add", "-d", "store", str(folder / "remote"))
    repository.commit("the tree")
    repository.run("git", "init", "-q", "--bare", str(folder / "origin"))
    repository.run("git", "remote", "add", "origin", str(folder / "origin"))
    repository.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
    (folder / "ready").touch()


def write_pool(pool: Path) -> None:
    """Schedule the repositories of all nights, each on one hub, some on two, and write the planned copies."""
    rows = {row["repo"]: row for row in map(json.loads, (pool / "schedule.jsonl").read_text().splitlines())}
    names, schedule = _in_turn(), list[dict[str, Any]]()
    for number, night in enumerate(PLAN, 1):
        new = [names.pop(0) for _ in range(night.new)]
        for change in night.changes:
            for copy in range(EXTRA.get(change, 0)):
                name = f"{change.replace('-', '')}{number}/copy-{copy}"
                source = names.pop(0) if change == "mislabel" else schedule[copy]["repo"]
                _copy_repo(pool, source, name, change, donor=schedule[-1]["repo"])
                new.append(name)
        for name in [*new, *(BAD if number == 1 else ())]:
            hubs = [HUB_OF[len(schedule) % len(HUB_OF)]]
            if name.startswith(("flood", "near")):
                hubs = ["huggingface"]
            elif len(schedule) % 9 == 8:
                hubs = sorted({*hubs, "civitai"})
            stamp = rows[name]["created_at"] if number == 1 else f"{_date(number)}T01:00:00.000Z"
            row = rows.get(name, {"downloads": 3}) | {"repo": name, "day": number, "hubs": hubs}
            schedule.append(row | {"created_at": stamp})
    (pool / "schedule.jsonl").write_text("".join(json.dumps(row) + "\n" for row in schedule))


def _in_turn() -> list[str]:
    """Return the good repositories: two of each of six themes first, as the encoder needs, then all others."""
    themes: dict[str, list[str]] = {}
    for entry in json.loads((ROOT / "playground/themes.json").read_text()).values():
        themes.setdefault(entry["theme"], []).append(entry["repo"])
    first = list(chain.from_iterable(repos[:2] for repos in themes.values() if len(repos) > 1))[:12]
    others = chain.from_iterable(zip_longest(*themes.values()))
    return first + [repo for repo in others if repo and repo not in first]


def _copy_repo(pool: Path, source: str, name: str, change: str, donor: str) -> None:
    """Write a repository with the weights of another one: with a donor's card and images, as they are, or changed."""
    shutil.copytree(pool / source, pool / name)
    (file,) = (pool / name).glob("*.safetensors")
    if change == "mislabel":
        shutil.rmtree(pool / name / "images")
        shutil.copytree(pool / donor / "images", pool / name / "images")
        shutil.copy(pool / donor / "README.md", pool / name / "README.md")
    elif change != "duplicate":
        file.write_bytes(_perturbed(file.read_bytes(), seed=sum(name.encode()), noise=NOISE))


def _perturbed(content: bytes, seed: int, noise: float) -> bytes:
    """Return a LoRA file with noise in all weights, relative to each of them."""
    generator = torch.Generator().manual_seed(seed)
    changed = {
        key: (value * (1 + noise * torch.randn(value.shape, generator=generator))).to(value.dtype)
        for key, value in sorted(load_tensors(content).items())
    }
    written: bytes = save_tensors(changed)
    return written


def change_hub(hub: Hub, change: str, night: int, position: int) -> None:
    """Let a repository that is on a hub for some nights change."""
    name = "huggingface" if change == "version" else HUBS[(night // 2 + position) % 2]
    old = [repo for repo in hub.visible(name) if repo.day < night and repo.id not in BAD]
    repo, other = random.Random(night).sample([repo for repo in old if "/copy-" not in repo.id], 2)
    date = f"{_date(night)}T00:30:00.000Z"
    match change:
        case "license":
            repo.relicense("cc-by-4.0" if repo.head.card.get("license") != "cc-by-4.0" else "mit", date)
        case "withdraw":
            hub.change({"withdraw": repo.id})
        case "version":
            (path,), source = repo.head.weights, other.head.blobs[other.head.weights[0]]
            content = _perturbed(source.read(0, source.size), night, VERSION_NOISE)
            repo.commits.append(make_commit({**repo.head.blobs, path: describe(path, content)}, date))
            repo.published_at = date


def _date(night: int) -> datetime.date:
    return datetime.date(2026, 1, 4) + datetime.timedelta(days=night)


def _faults(night: Night) -> list[dict[str, Any]]:
    """Return the faults of the hubs in a night."""
    match night.hazard:
        case "down":
            return [{"fault": "503", "hub": night.hub, "times": EVER}]
        case "404":
            return [{"fault": "404", "hub": night.hub, "times": EVER}]
        case "cut":
            return [
                {"fault": "cut-body", "kind": kind, "times": CUT_TIMES} for kind in ("weights", "renderings")
            ]
    return []
