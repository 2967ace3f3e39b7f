"""Build the playground from nothing: models, judges, LoRAs and pool, two steps at a time.

    python -m playground.build [--scale S] [--only STEP ...]

Each step is a process of one thread, started as soon as what it needs is there; its output goes to
cache/playground/STEP.log, what it measured and its time to playground/build.json.  `--scale 0.01`
trains everything for a hundredth of its steps: all files, no quality.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
RECORD = Path(__file__).parent / "build.json"
LOGS = ROOT / "cache" / "playground"
LANES = 2
SEED = 20260101

Measured = dict[str, float]

NEEDS: dict[str, tuple[str, ...]] = {
    "vae": (),
    "clip": (),
    "oracle": (),
    "flux": ("vae", "clip", "oracle"),
    "loras-0": ("flux",),
    "loras-1": ("flux",),
    "vlm": (),
    "vlm-questions": ("vlm",),
    "judge-vlm": (),
    "judge-vlm-questions": ("judge-vlm",),
    "judge-clip": (),
    "pool": ("loras-0", "loras-1"),
}
"""step -> the steps it needs; of those that may start, the first does"""


def run(step: str, scale: float) -> Measured:
    """Run one step in this process; return what it measured."""
    from playground import clip, flux, loras, oracle, pool, vae, vlm

    steps: dict[str, Callable[[], Measured]] = {
        "vae": lambda: vae.build(scale, SEED),
        "clip": lambda: clip.build(clip.PARTY, scale),
        "oracle": lambda: oracle.build(scale),
        "flux": lambda: flux.build(scale, SEED),
        "loras-0": lambda: loras.build(scale, 0, 2),
        "loras-1": lambda: loras.build(scale, 1, 2),
        "vlm": lambda: vlm.build(vlm.PARTY, scale),
        "vlm-questions": lambda: vlm.question_further(vlm.PARTY, scale),
        "judge-vlm": lambda: vlm.build(vlm.JUDGE, scale),
        "judge-vlm-questions": lambda: vlm.question_further(vlm.JUDGE, scale),
        "judge-clip": lambda: clip.build(clip.JUDGE, scale),
        "pool": pool.build,
    }
    return steps[step]()


def note(step: str, measured: Measured) -> None:
    """Add a step's measurements to build.json."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[step] = measured
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def build(steps: list[str], scale: float) -> None:
    """Run the steps, LANES at a time, each when what it needs among them is done."""
    waiting, running = list(steps), dict[str, subprocess.Popen[bytes]]()
    while waiting or running:
        for step in [step for step, process in running.items() if process.poll() is not None]:
            if running.pop(step).returncode:
                raise SystemExit(f"{step} failed: see {LOGS / step}.log; then go on with --only {step} ...")
            print(f"{time.strftime('%H:%M:%S')} {step} done", flush=True)
        blocked = {*waiting, *running}
        ready = [step for step in waiting if not blocked & {*NEEDS[step]}]
        for step in ready[: LANES - len(running)]:
            waiting.remove(step)
            running[step] = _start(step, scale)
            print(f"{time.strftime('%H:%M:%S')} {step} started", flush=True)
        time.sleep(1)


def _start(step: str, scale: float) -> subprocess.Popen[bytes]:
    LOGS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "playground.build", "--step", step, "--scale", str(scale)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (LOGS / f"{step}.log").open("wb") as log:
        environment = os.environ | threads
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def main() -> None:
    """Build everything, the steps asked for, or run a single step in this process."""
    parser = argparse.ArgumentParser(description="Build the playground from nothing.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps")
    parser.add_argument("--only", nargs="+", choices=NEEDS, default=list(NEEDS), help="run these steps alone")
    parser.add_argument("--step", choices=NEEDS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.step:
        return build(asked.only, asked.scale)
    torch.set_num_threads(1)
    started = time.monotonic()
    measured = run(asked.step, asked.scale)
    note(asked.step, {"seconds": round(time.monotonic() - started, 1), "scale": asked.scale, **measured})


if __name__ == "__main__":
    main()
