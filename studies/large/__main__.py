"""Command: train the large world and write a project with it: `make playground-128`.

    python -m studies.large [--scale S] [--loras N] [-o FOLDER]

FOLDER (cache/playground/128) then contains the base `flux-large/`, `pool/`, `themes.json`, and `project/`: a clone of
this repository in which the large world is the playground. An interrupted build continues; a project that exists stays.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from autolora.errors import exit_on_error
from autolora.storage.lock import exclusive_folder
from playground import authors, bases, loras, pool
from studies.large import project
from studies.large.recipes import BASE, HOME, recipes


def build(base: bases.Base, chosen: list[authors.Recipe], scale: float = 1.0) -> dict[str, float]:
    """Train what is missing of a base and its LoRAs, and write everything around them, beside the base.

    Returns the shares of renderings that show their theme, by kind of theme.
    """
    home = base.home.parent
    if not bases.is_trained(base):
        print(bases.build(base, scale), flush=True)
    for number, _ in enumerate(loras.train_missing(chosen, home / "pool", base.home, scale), 1):
        print(f"{number} LoRAs trained, of {len(chosen)}", flush=True)
    pool.write(chosen, home / "pool", home / "themes.json")
    if not (home / "project").exists():
        project.write(home / "project", base)
    return pool.check(chosen, home / "pool")


def main() -> None:
    """Build the large world."""
    parser = argparse.ArgumentParser(description="Train the large world and write a project with it.")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of training steps")
    parser.add_argument("--loras", type=int, metavar="N", help="train only the first N LoRAs")
    parser.add_argument("-o", "--output", type=Path, default=HOME, metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = replace(BASE, home=options.output / BASE.home.name)
    with exclusive_folder(options.output, ", or name another folder with -o"):
        print(build(base, recipes()[: options.loras], options.scale))


if __name__ == "__main__":
    with exit_on_error():
        main()
