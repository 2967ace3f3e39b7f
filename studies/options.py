"""The options that the studies on fusion share, and the types of their numbers."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

PLAYGROUND = "playground"
"""the world whose numbers are headline numbers"""
Write = Literal["none", "larger", "all"]
"""which tables are written: none; those that hold as much as the ones that they replace; all of them"""


def study_parser(command: str, description: str, results: Path) -> argparse.ArgumentParser:
    """Return a parser with the options that all studies have; `parse` reads them.

    results: the file of the tables.
    """
    parser = argparse.ArgumentParser(
        prog=command, description=description, formatter_class=argparse.RawTextHelpFormatter
    )
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
        help=f"tables that replace those in {results.as_posix()}:\n"
        "larger: those with at least as many cases, images, rows, scores and runs, and new ones (default)\n"
        "all: also smaller ones\n"
        "none: none of them (default with --finished)",
    )
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options, with the defaults of those that depend on others."""
    options = parser.parse_args(arguments)
    options.name = options.name or (options.world.resolve().name if options.world else PLAYGROUND)
    options.world = options.world or Path.cwd()
    options.write = options.write or ("none" if options.finished else "larger")
    return options


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
