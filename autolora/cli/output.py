"""Printing of tables and JSON."""

import json
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autolora.wording import printable

MIN_VALUE_WIDTH = 20
"""characters of a line of a value, also on a terminal that is narrower"""


def print_facts(rows: Mapping[str, Any]) -> None:
    """Print labels and values in two columns.

    Values are wrapped at the width of the terminal, but never within a word, so that names and hashes can be copied.
    """
    indent = max(map(len, rows), default=0) + 3
    width = max(shutil.get_terminal_size().columns - indent, MIN_VALUE_WIDTH)
    facts = Text()
    for label, value in rows.items():
        first, *others = [
            part for line in printable(str(value)).splitlines() for part in _wrap(line, width)
        ] or [""]
        facts.append(f" {label}".ljust(indent), "bold").append(f"{first}\n")
        facts.append("".join(f"{' ' * indent}{line}\n" for line in others))
    _print(facts)


def _wrap(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


def print_table(table: Table) -> None:
    """Print a table."""
    _print(table)


def _print(content: Table | Text) -> None:
    """Print with print(): rich's own output exits with an error and no message if the pipe is closed."""
    console = Console()
    with console.capture() as captured:
        console.print(
            content, soft_wrap=isinstance(content, Text), end="" if isinstance(content, Text) else "\n"
        )
    print(captured.get(), end="")


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
