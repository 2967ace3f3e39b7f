"""The options of `python -m studies.paper`, and what they choose."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from studies.options import absolute, count, listed, parse, quoted, seed, study_parser
from studies.paper.experiments import EXPERIMENTS, Size
from studies.paper.gates import VARIANTS, TrainedGates
from studies.paper.quality import METRICS

COMMAND = "python -m studies.paper"
RESULTS = Path("metrics", "paper_bench.json")
DESCRIPTION = "The experiments of the paper, and some beyond it."
BEYOND = tuple(name for name in EXPERIMENTS if not name[0].isdigit())
STRENGTHS = "strengths"
DEFAULT = Size()
SIZES = {
    "prompts": "of each set of Table 1, per run",
    "images": "per prompt of the other tables, per run",
    "sets": "of adapters, per run",
    "objects": "largest number of Table 2",
    "styles": "largest number of Table 2",
}
"""fields of `Size` that are options, and what they count"""


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command."""
    parser = study_parser(COMMAND, DESCRIPTION, RESULTS)
    add_choices(parser)
    add_sizes(parser)
    parser.add_argument("--figure", type=int, choices=(2,), help="of the paper (default: none)")
    parser.add_argument(
        "--quality",
        nargs="*",
        choices=METRICS,
        default=[],
        metavar="METRIC",
        help=f"further judges, which docs/howto/paper.md installs (default: none):\n{quoted(METRICS)}",
    )
    parser.add_argument(
        "--quality-python",
        type=absolute,
        metavar="FILE",
        default=absolute("cache/quality/bin/python"),
        help="that has their packages (default: cache/quality/bin/python)",
    )
    return parse(parser, arguments)


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what is measured."""
    parser.add_argument(
        "--tables",
        type=int,
        nargs="*",
        choices=range(1, 6),
        default=[*range(1, 6)],
        metavar="TABLE",
        help="of the paper (default: 1 2 3 4 5)",
    )
    parser.add_argument(
        "--beyond",
        nargs="*",
        choices=BEYOND,
        default=BEYOND,
        metavar="NAME",
        help=f"experiments beyond the paper (default: {listed(BEYOND)})",
    )
    parser.add_argument(
        "--gates",
        nargs="*",
        choices=VARIANTS,
        default=DEFAULT.gates,
        metavar="NAME",
        help=f"variants that have rows (default: all):\n{quoted(VARIANTS)}",
    )
    parser.add_argument(
        "--other-prompts",
        type=absolute,
        metavar="FILE",
        help="of prompts, one per line, for Table 1 (default: captions of random scenes, on the playground)",
    )


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is measured."""
    runs = f"seeds of gates and draws (default: {listed(DEFAULT.runs)})"
    parser.add_argument("--runs", type=seed, nargs="+", default=DEFAULT.runs, metavar="SEED", help=runs)
    for name, meaning in SIZES.items():
        default = getattr(DEFAULT, name)
        parser.add_argument(
            f"--{name}", type=count, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )


def size_of(options: argparse.Namespace) -> Size:
    """Return the size that the options give."""
    return Size(
        runs=tuple(options.runs),
        prompts=options.prompts,
        images=options.images,
        sets=options.sets,
        objects=options.objects,
        styles=options.styles,
        gates=tuple(options.gates),
        other_prompts=options.other_prompts,
    )


def gates_of(options: argparse.Namespace, size: Size) -> list[TrainedGates]:
    """Return the gates that the experiments and the figure need."""
    variants = {variant for name in experiments_of(options) for variant in EXPERIMENTS[name].gates}
    wanted = (variants & {*size.gates}) | ({"paper", "best"} if options.figure else set())
    return [TrainedGates(variant, run) for run in size.runs for variant in VARIANTS if variant in wanted]


def experiments_of(options: argparse.Namespace) -> list[str]:
    """Return the names of the experiments to measure, except that of the strengths, which always comes first."""
    tables = [name for name in EXPERIMENTS if name[0].isdigit() and int(name[0]) in options.tables]
    return [*tables, *(name for name in options.beyond if name != STRENGTHS)]
