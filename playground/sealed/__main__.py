"""Command: train the sealed test's pool and write its prompts: `make playground-162`.

    python -m playground.sealed [--scale S] [--loras N] [-o FOLDER]

FOLDER (cache/playground/162) then contains `pool/`, which the hub serves, `themes.json`, `labels.jsonl` (theme, quality
and captioning of each LoRA, and whether its theme is held out), the prompts `described.jsonl` and
`out_of_distribution.jsonl`, and `recipe.json`, the commits from which it was built. Build it after the method is
frozen, and use it once (`python -m bench.sealed`). An interrupted build continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from autolora.errors import exit_on_error
from autolora.storage.lock import exclusive_folder
from playground import bases, flux, loras, pool
from playground.sealed import prompts
from playground.sealed.recipes import SealedRecipe, recipes, spread

HOME = bases.CACHE / "162"


def build(home: Path, scale: float = 1.0, count: int | None = None) -> dict[str, float]:
    """Train `count` of the LoRAs, and write everything around them; return the shares that show their theme."""
    sealed = spread(count)
    record_commit(home)
    plain = [entry.recipe for entry in sealed]
    for number, _ in enumerate(loras.train_missing(plain, home / "pool", flux.HOME, scale), 1):
        print(f"{number} LoRAs trained, of {len(plain)}", flush=True)
    pool.write(plain, home / "pool", home / "themes.json")
    write_rows(home / "labels.jsonl", (label(entry, home / "pool") for entry in sealed))
    write_prompts(home)
    return pool.check(plain, home / "pool")


def record_commit(home: Path) -> None:
    """Add the commit of this repository to recipe.json, unless it is the last one there; "-dirty" if files differ."""
    describe = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    commit = subprocess.run(describe, cwd=bases.CACHE.parents[1], check=True, capture_output=True, text=True)
    path = home / "recipe.json"
    commits = json.loads(path.read_text())["commits"] if path.exists() else []
    if commits[-1:] != [commit.stdout.strip()]:
        home.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"commits": [*commits, commit.stdout.strip()]}) + "\n")


def write_prompts(home: Path) -> None:
    """Write both sets of prompts; they are about the whole pool, however many LoRAs are trained."""
    whole = [entry.recipe for entry in recipes()]
    write_rows(home / "described.jsonl", (prompt.row() for prompt in prompts.described(whole)))
    write_rows(
        home / "out_of_distribution.jsonl", (prompt.row() for prompt in prompts.out_of_distribution(whole))
    )


def label(entry: SealedRecipe, home: Path) -> dict[str, object]:
    """Return what only the evaluation reads about a LoRA."""
    recipe = entry.recipe
    return {
        "sha256": hashlib.sha256((home / recipe.repo / recipe.file).read_bytes()).hexdigest(),
        "repo": recipe.repo,
        "theme": recipe.theme,
        "shown": recipe.labelled.theme,
        "quality": entry.quality,
        "captioning": recipe.captioning,
        "held_out": entry.is_held_out,
    }


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the sealed test."""
    parser = argparse.ArgumentParser(
        prog="python -m playground.sealed",
        description="Train the LoRAs of the sealed test and write its prompts; an interrupted build continues.",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="S", help="factor of the numbers of training steps (1)"
    )
    parser.add_argument(
        "--loras", type=int, metavar="N", help=f"train only N LoRAs, of both days (all {len(recipes())})"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=HOME,
        metavar="FOLDER",
        help="where the pool and its prompts are written (cache/playground/162)",
    )
    options = parser.parse_args(arguments)
    try:
        spread(options.loras)
    except ValueError as error:
        parser.error(f"--loras: {error}")
    torch.set_num_threads(1)
    with exclusive_folder(options.output, ", or name another folder with -o"):
        print(build(options.output, options.scale, options.loras))


if __name__ == "__main__":
    with exit_on_error():
        main()
