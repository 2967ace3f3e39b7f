"""Printing of tables and JSON."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def two_columns(rows: Mapping[str, Any]) -> Table:
    """Return a table of labels and values."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in rows.items():
        table.add_row(f"[bold]{label}", escape(str(value)))
    return table


def print_table(table: Table) -> None:
    """Print a table with print(): rich's own output exits with an error and no message if the pipe is closed."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
