"""The options of `python -m studies.paper`, and what they choose."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from studies.paper.experiments import EXPERIMENTS, Size
from studies.paper.gates import VARIANTS, TrainedGates
from studies.paper.quality import METRICS
from studies.study_file import Write

COMMAND = "python -m studies.paper"
RESULTS = Path("metrics", "paper_bench.json")
PLAYGROUND = "playground"
"""the world whose numbers are headline numbers"""
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
    """Return the options of the command, with the defaults of those that depend on others."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="The paper's tables.", formatter_class=argparse.RawTextHelpFormatter
    )
    add_places(parser)
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
    options = parser.parse_args(arguments)
    options.name = options.name or (options.world.resolve().name if options.world else PLAYGROUND)
    options.world = options.world or Path.cwd()
    options.write = options.write or ("none" if options.finished else "larger")
    return options


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is read and written."""
    parser.add_argument(
        "--world",
        type=world_folder,
        metavar="DIR",
        help="repository with params.yaml and data (default: this folder)",
    )
    parser.add_argument(
        "--name",
        type=world_name,
        help=f"of the world, in results and file names\n(default: that of the folder of --world, else {PLAYGROUND})",
    )
    parser.add_argument(
        "--finished",
        action="store_true",
        help="print what a run with the same options has finished so far; draw, train and write nothing",
    )
    parser.add_argument(
        "--write",
        choices=get_args(Write),
        help=f"tables that replace those in {RESULTS.as_posix()}:\n"
        "larger: those with at least as many cases, images, rows, scores and runs, and new ones (default)\n"
        "all: also smaller ones\n"
        "none: none of them (default with --finished)",
    )


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
    """Return the names of the experiments to measure."""
    return [name for name in EXPERIMENTS if int(name[0]) in options.tables]


def absolute(path: str) -> Path:
    """Return a path that stays when the working directory becomes that of the world."""
    return Path(path).absolute()


def world_folder(path: str) -> Path:
    """Return the absolute path of a folder that exists."""
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{path!r} is not a folder")
    return absolute(path)


def world_name(text: str) -> str:
    """Return a name that may be a part of the names of files."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of letters, digits, '.', '_' and '-'")
    return text


def count(text: str) -> int:
    """Return a number of at least 1."""
    return _at_least(1, text)


def seed(text: str) -> int:
    """Return a number of at least 0."""
    return _at_least(0, text)


def _at_least(smallest: int, text: str) -> int:
    if not text.isdecimal() or int(text) < smallest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {smallest}")
    return int(text)


def listed(values: Iterable[object]) -> str:
    """Return values as they are given on a command line, e.g. 0 1 2."""
    return " ".join(map(str, values))


def quoted(names: Iterable[str]) -> str:
    """Return names as they are given on a command line, one per line, in quotes because some contain spaces."""
    return "\n".join(f'  "{name}"' for name in names)
