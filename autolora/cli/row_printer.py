"""The table of inspected files, printed row by row, so that no more than one row is in memory."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from autolora.hubs.folder.scan import id_of
from autolora.wording import printable

if TYPE_CHECKING:
    from autolora.inspection.inspection import Inspection

COLUMNS = (("layout", 20), ("rank", 7), ("strength", 8))
"""columns between the name and what a file does, with their widths; refused files have their reason code as layout"""
LAST_COLUMN = "what it does"
MIN_NAME_CELLS, MAX_NAME_CELLS = 14, 48
MIN_LAST_CELLS = 24
GAP = "  "
MAX_MEASURED = 1000
"""names whose widths determine the width of the first column"""


class RowPrinter:
    """Prints the header when it is created, and then rows, which are cut off at the width of a terminal.

    A name that is longer than its column has a line of its own before the row if it fits there.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """paths: of all files."""
        self._width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else None
        longest = max((cell_len(id_of(path)) for path in paths[:MAX_MEASURED]), default=0)
        self._columns = (("file", self._name_cells(longest)), *COLUMNS)
        self._print([name for name, _ in self._columns], LAST_COLUMN)

    def print(self, inspection: "Inspection") -> None:
        """Print one row."""
        from autolora.inspection.facts import describe_rank, summarize_inspection

        strength = "" if inspection.changes is None else f"{inspection.changes.norm:.3g}"
        layout = inspection.layout or f"✗ {inspection.verdict}"
        name = id_of(inspection.path)
        if self._width is not None and self._columns[0][1] < cell_len(name) < self._width:
            print(printable(name))
            name = ""
        self._print([name, layout, describe_rank(inspection), strength], summarize_inspection(inspection))

    def _name_cells(self, longest: int) -> int:
        """Return the width of the first column."""
        cells = min(max(longest, MIN_NAME_CELLS), MAX_NAME_CELLS)
        if self._width is None:
            return cells
        others = sum(width + len(GAP) for _, width in COLUMNS) + len(GAP) + MIN_LAST_CELLS
        return max(MIN_NAME_CELLS, min(cells, self._width - others))

    def _print(self, cells: Sequence[str], last: str) -> None:
        texts = map(printable, cells)
        padded = (self._fit(cell, width) for cell, (_, width) in zip(texts, self._columns, strict=True))
        line = GAP.join((*padded, printable(last)))
        print(line if self._width is None else set_cell_size(line, self._width).rstrip())

    def _fit(self, text: str, width: int) -> str:
        """Return a text of this width; on a terminal a longer one loses its beginning."""
        excess = cell_len(text) - width
        if excess <= 0 or self._width is None:
            return text + " " * -excess
        while cell_len(text) >= width:
            text = text[1:]
        return set_cell_size(f"…{text}", width)
