"""Build the playground from nothing: models, LoRAs and pool, step by step.

    python -m playground.build [--scale S] [--only STEP | --start STEP] [--part I/N]

`--scale 0.01` trains everything for a hundredth of its steps: all files, no quality.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

RECORD = Path(__file__).parent / "build.json"
SEED = 20260101
STEPS = ("clip", "vae", "flux", "loras", "pool", "vlm")


def run(step: str, scale: float, part: tuple[int, int] = (0, 1)) -> dict[str, float]:
    """Run one step; return what it measured, and its seconds."""
    start = time.monotonic()
    measured = _steps(scale, part)[step]() or {}
    return {"seconds": round(time.monotonic() - start, 1), "scale": scale, **measured}


def _steps(scale: float, part: tuple[int, int]) -> dict[str, Callable[[], dict[str, float] | None]]:
    from playground import clip, flux, loras, pool, vae, vlm

    return {
        "clip": lambda: clip.build(scale, SEED),
        "vae": lambda: vae.build(scale, SEED),
        "flux": lambda: flux.build(scale, SEED),
        "loras": lambda: loras.build(scale, *part),
        "pool": pool.build,
        "vlm": lambda: vlm.build(scale),
    }


def note(step: str, measured: dict[str, float]) -> None:
    """Add a step's measurements to build.json."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[step] = measured
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Run the asked step, or every step in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps")
    parser.add_argument("--only", choices=STEPS, help="run this step alone")
    parser.add_argument("--start", choices=STEPS, default=STEPS[0], help="run from this step on")
    parser.add_argument("--part", default="0/1", help="train this part of the LoRAs, as 0/2")
    asked = parser.parse_args()
    index, parts = (int(n) for n in asked.part.split("/"))
    torch.set_num_threads(1)
    for step in [asked.only] if asked.only else STEPS[STEPS.index(asked.start) :]:
        measured = run(step, asked.scale, (index, parts))
        print(f"{step}: {measured}", flush=True)
        note(step if parts == 1 else f"{step} {asked.part}", measured)


if __name__ == "__main__":
    main()
