"""Printing of facts, tables, sentences and JSON.

Lines are wrapped at the width of the terminal, but never within a word, so that names and hashes can be copied.
"""

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from rich.cells import cell_len, chop_cells

from autolora.wording import printable

MIN_VALUE_WIDTH = 20
"""characters of a line of a value, also on a terminal that is narrower"""
INDENT = 2
"""of what follows the first line of a text, and of values that only fit below their label"""
GAP = "  "
"""between the columns of a table"""
MIN_PIECE = 16
"""cells of the pieces into which a sentence of wide characters is divided at least"""
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


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
        indent = len(line) - len(line.lstrip()) + INDENT
        print("\n".join(_wrap(line, _columns(), indent)) if has_width else line)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    *,
    numbers: Collection[str] = (),
    widest: Mapping[str, int] = NO_LIMITS,
) -> None:
    """Print a table; if its words do not fit beside each other, each row as labels and values.

    A row with one text is a heading. numbers: columns that are aligned to the right. widest: cells to which columns
    are wrapped if there is room for more.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = _widths(dict(zip(columns, zip(columns, *cells, strict=True), strict=True)), widest)
    print_lines(*([f" {title}"] if title else []))
    if not widths:
        for row in cells:
            _print_block({name: cell for name, cell in zip(columns, row, strict=True) if cell})
        return
    are_numbers = [name in numbers for name in columns]
    print(_bold(_row(columns, widths, are_numbers)))
    print(f" {'─' * (sum(widths) + len(GAP) * (len(widths) - 1))}")
    for row in cells:
        text = _row(row, widths, are_numbers)
        print(_bold(text) if sum(map(bool, row)) == 1 else text)


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _widths(cells: Mapping[str, Sequence[str]], widest: Mapping[str, int]) -> list[int]:
    """Return the widths of a table's columns, given their cells; none if their words do not fit.

    The first columns get room for their longest lines, and the last ones wrap.
    """
    widths = [max(map(_longest_word, column)) for column in cells.values()]
    room = _columns() - 1 - sum(widths) - len(GAP) * (len(widths) - 1)
    if room < 0:
        return []
    for number, (name, column) in enumerate(cells.items()):
        longest = max(cell_len(line) for cell in column for line in [*cell.splitlines(), ""])
        more = max(0, min(room, min(longest, widest.get(name, longest)) - widths[number]))
        widths[number] += more
        room -= more
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], are_numbers: Sequence[bool]) -> str:
    """Return the lines of a row."""
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = []
        for part, width, is_number in zip(parts, widths, are_numbers, strict=True):
            blanks = " " * (width - cell_len(part))
            padded.append(blanks + part if is_number else part + blanks)
        lines.append(f" {GAP.join(padded)}".rstrip())
    return "\n".join(lines)


def _print_block(texts: Mapping[str, str]) -> None:
    """Print a row of a table that is too wide."""
    print()
    if len(texts) == 1:
        print(_bold(f" {''.join(texts.values())}"))
    else:
        print_facts(texts)


def _wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Return the lines of a text, at least one. indent: blanks before those that follow the first one of a line."""
    lines = []
    for line in text.splitlines() or [""]:
        if cell_len(line) <= width:
            lines.append(line)
            continue
        lines.append(line[: len(line) - len(line.lstrip())])
        for piece in _pieces(line, width):
            if lines[-1].strip() and cell_len(lines[-1]) + 1 + cell_len(piece) > width:
                lines.append(" " * indent)
            lines[-1] += f" {piece}" if lines[-1].strip() else piece
    return lines


def _pieces(line: str, width: int) -> Iterator[str]:
    """Yield the words of a line; sentences of wide characters, which have no blanks, in pieces."""
    for word in line.split():
        yield from chop_cells(word, max(width, MIN_PIECE)) if _is_wide(word) else [word]


def _longest_word(text: str) -> int:
    """Return the cells of the longest word of a text."""
    cells = (min(cell_len(word), MIN_PIECE) if _is_wide(word) else cell_len(word) for word in text.split())
    return max(cells, default=0)


def _is_wide(word: str) -> bool:
    return cell_len(word) > 1.5 * len(word)


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text
