"""Printing of facts, tables, sentences and JSON.

Lines are wrapped at the width of the terminal, but never within a word, so that names and hashes can be copied.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len

from autolora.wording import printable

MIN_VALUE_WIDTH = 20
"""characters of a line of a value, also on a terminal that is narrower"""
INDENT = 2
"""of what follows the first line of a text, and of values that only fit below their label"""
GAP = "  "
"""between the columns of a table"""


def print_facts(rows: Mapping[str, Any]) -> None:
    """Print labels and values in two columns; a value with a word that only fits on a line of its own goes below."""
    indent, columns = max(map(len, rows), default=0) + 3, _columns()
    for label, value in rows.items():
        text = printable(str(value))
        is_below = columns - indent < _longest_word(text) <= columns - INDENT
        before = INDENT if is_below else indent
        lines = _wrap(text, max(columns - before, MIN_VALUE_WIDTH))
        first = f" {label}\n{' ' * before}" if is_below else f" {label}".ljust(indent)
        print(_bold(first) + f"\n{' ' * before}".join(lines))


def print_lines(*lines: str) -> None:
    """Print lines of text, wrapped unless they go to a file or pipe of unknown width."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    for line in lines:
        blanks = " " * (len(line) - len(line.lstrip()) + INDENT)
        print("\n".join(_wrap(line, _columns(), blanks)) if has_width else line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; if its words do not fit beside each other, each row as labels and values.

    A row with one text is a heading.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = _widths([*zip(columns, *cells, strict=True)])
    if title:
        print_lines(f" {title}")
    if widths:
        print(_bold(_row(columns, widths)))
        print(f" {'─' * (sum(widths) + len(GAP) * (len(widths) - 1))}")
    for row in cells:
        is_heading = sum(map(bool, row)) == 1
        if widths or is_heading:
            text = _row(row, widths) if widths else f"\n {''.join(row)}"
            print(_bold(text) if is_heading else text)
        else:
            print()
            print_facts({name: cell for name, cell in zip(columns, row, strict=True) if cell})


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _widths(grid: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of a table's columns, each a sequence of cells; none if their words do not fit.

    The first columns get room for their longest lines, and the last ones wrap.
    """
    widths = [max(map(_longest_word, column)) for column in grid]
    room = _columns() - 1 - sum(widths) - len(GAP) * (len(widths) - 1)
    if room < 0:
        return []
    for number, column in enumerate(grid):
        longest = max(cell_len(line) for cell in column for line in cell.split("\n"))
        more = min(room, longest - widths[number])
        widths[number] += more
        room -= more
    return widths


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return the lines of a row."""
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = [
        GAP.join(part + " " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True))
        for parts in zip_longest(*wrapped, fillvalue="")
    ]
    return "\n".join(f" {line}".rstrip() for line in lines)


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Return the lines of a text, at least one. indent: before those that follow the first one of a line."""
    lines = [
        textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return [part for parts in lines for part in parts or [""]]


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text
