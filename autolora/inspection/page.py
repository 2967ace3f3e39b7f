"""The page of inspections: one self-contained HTML file. Every text from a file is escaped.

The rows are collected in a temporary file, and the page is written part by part, so that it may be larger than the
memory.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from autolora.inspection.facts import facts, summarize_inspection
from autolora.inspection.inspection import Inspection, Totals
from autolora.storage.files import replacing

STYLES = ("report/components/tokens.css", "inspection/page.css")
OPEN_ROWS = 12
"""up to this number of files, all facts are shown at once"""
BLOCK_PX = 6
"""width of a block's bar"""


@contextmanager
def written_page(
    path: Path, title: str, base: str, totals: Totals, notes: Sequence[str]
) -> Iterator[Callable[[Inspection], None]]:
    """Yield a function that adds an inspection to a page, which is written, atomically, if the block succeeds.

    title: what is inspected. base: description of the base model. totals: of all inspections, at the end of the block.
    """
    with TemporaryFile("w+", encoding="utf-8") as stream:

        def add(inspection: Inspection) -> None:
            stream.write(json.dumps(_row(inspection)) + "\n")

        yield add
        stream.seek(0)
        environment = _environment()
        parts = environment.get_template("inspection/page.html").generate(
            style=Markup("\n".join(environment.get_template(name).render() for name in STYLES)),
            title=title,
            base=base,
            totals=totals,
            notes=notes,
            rows=map(json.loads, stream),
            is_open=totals.files <= OPEN_ROWS,
        )
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as page:
            page.writelines(parts)


def _environment() -> Environment:
    rooms = ("inspection", "report")
    loader = PrefixLoader({room: PackageLoader(f"autolora.{room}", package_path="") for room in rooms})
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _row(inspection: Inspection) -> dict[str, Any]:
    return {
        "path": inspection.path,
        "accepted": inspection.accepted,
        "verdict": inspection.verdict,
        "layout": inspection.layout,
        "summary": summarize_inspection(inspection),
        "facts": facts(inspection),
        "bars": _bars(inspection),
    }


def _bars(inspection: Inspection) -> list[dict[str, Any]]:
    """Return position, relative height and label of the bar of each block; empty if the file was refused."""
    if inspection.changes is None:
        return []
    blocks = inspection.changes.blocks
    largest = max(blocks.values()) or 1.0
    return [
        {
            "x": number * BLOCK_PX,
            "height": round(40 * share / largest, 1),
            "is_double": name.startswith("transformer_blocks"),
            "label": f"{name}: {share:.1%}",
        }
        for number, (name, share) in enumerate(blocks.items())
    ]
