"""The options of `python -m studies.gates`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from studies.gates.cases import SITUATIONS
from studies.gates.cells import CELLS
from studies.options import PLAYGROUND, count, listed, parse, quoted, seed, study_parser

COMMAND = "python -m studies.gates"
RESULTS = Path("metrics", "gates_bench.json")
DESCRIPTION = "What a learned gate adds to the sum of the relevant adapters."
COLLIDING = "colliding"
"""the situation `right` on the pairs whose adapters collide"""
TABLES = (*SITUATIONS, COLLIDING)
"""situations, as --situations names them"""
SEEDS = (0, 1, 2)
SIZES = {
    "choice-pairs": (12, "of adapters, by which the recipes are chosen"),
    "pairs": (36, "of unseen adapters"),
    "images": (2, "per pair and method"),
}
"""name -> default and what it counts"""


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command."""
    parser = study_parser(COMMAND, DESCRIPTION, RESULTS)
    parser.add_argument(
        "--gates",
        nargs="+",
        choices=CELLS,
        default=list(CELLS),
        metavar="NAME",
        help=f"that have rows beside the sums (default: all):\n{quoted(CELLS)}",
    )
    parser.add_argument(
        "--situations",
        nargs="+",
        choices=TABLES,
        default=list(TABLES),
        metavar="NAME",
        help=f"that have a table (default: {listed(TABLES)})",
    )
    seeds = f"of the gates (default: {listed(SEEDS)})"
    parser.add_argument("--seeds", type=seed, nargs="+", default=list(SEEDS), metavar="SEED", help=seeds)
    for name, (default, meaning) in SIZES.items():
        parser.add_argument(
            f"--{name}", type=count, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    return parse(parser, arguments)


def is_default(options: argparse.Namespace) -> bool:
    """Return whether the whole study was asked for, in the playground: its numbers are headline numbers."""
    others = {"world": options.world, "write": options.write, "name": PLAYGROUND}  # any folder of that name
    return vars(options) == vars(read_options([])) | others
