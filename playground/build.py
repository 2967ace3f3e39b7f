"""Command: build the playground from scratch: models, judges, LoRAs and pool.

    python -m playground.build [--scale S] [--only STEP ...]

Two steps run at a time, each in a process with one thread, as soon as the steps that it needs are done. The output of
a step is written to cache/playground/STEP.log, its measurements and its time to playground/build.json. `--scale 0.01`
trains every model for 1 % of its steps: this writes all files, but the models are useless.
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
MAX_PROCESSES = 2
SEED = 20260101

Measurements = dict[str, float]

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
"""step -> steps that it needs; of the steps that are ready, the first one starts"""


def run(step: str, scale: float) -> Measurements:
    """Run one step in this process; return its measurements."""
    from playground import bases, clip, loras, oracle, pool, vae
    from playground.vlm import training as vlm

    steps: dict[str, Callable[[], Measurements]] = {
        "vae": lambda: vae.build(scale, SEED),
        "clip": lambda: clip.build(clip.MAIN, scale),
        "oracle": lambda: oracle.build(scale),
        "flux": lambda: bases.build(bases.MAIN, scale),
        "loras-0": lambda: loras.build(scale, 0, 2),
        "loras-1": lambda: loras.build(scale, 1, 2),
        "vlm": lambda: vlm.build(vlm.MAIN, scale),
        "vlm-questions": lambda: vlm.build_questions(vlm.MAIN, scale),
        "judge-vlm": lambda: vlm.build(vlm.JUDGE, scale),
        "judge-vlm-questions": lambda: vlm.build_questions(vlm.JUDGE, scale),
        "judge-clip": lambda: clip.build(clip.JUDGE, scale),
        "pool": pool.build,
    }
    return steps[step]()


def record_measurements(step: str, measurements: Measurements) -> None:
    """Write a step's measurements to build.json."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[step] = measurements
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def build(steps: list[str], scale: float) -> None:
    """Run the steps, at most MAX_PROCESSES at a time, each after those of them that it needs."""
    waiting, running = list(steps), dict[str, subprocess.Popen[bytes]]()
    while waiting or running:
        for step in [step for step, process in running.items() if process.poll() is not None]:
            if running.pop(step).returncode:
                raise SystemExit(f"{step} failed: see {LOGS / step}.log; to continue: --only {step} ...")
            print(f"{time.strftime('%H:%M:%S')} {step} done", flush=True)
        blocked = {*waiting, *running}
        ready = [step for step in waiting if not blocked & {*NEEDS[step]}]
        for step in ready[: MAX_PROCESSES - len(running)]:
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
    """Run the given steps in processes, or a single step in this process."""
    parser = argparse.ArgumentParser(description="Build the playground from scratch.")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of training steps")
    parser.add_argument("--only", nargs="+", choices=NEEDS, default=list(NEEDS), help="run only these steps")
    parser.add_argument("--step", choices=NEEDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.step:
        return build(options.only, options.scale)
    torch.set_num_threads(1)
    started = time.monotonic()
    measurements = run(options.step, options.scale)
    seconds = round(time.monotonic() - started, 1)
    record_measurements(options.step, {"seconds": seconds, "scale": options.scale, **measurements})


if __name__ == "__main__":
    main()
