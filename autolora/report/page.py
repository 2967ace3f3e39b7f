"""reports/index.html: the page that an operator opens after a refresh.

It is one file: it embeds its images, loads nothing and runs no script. Every text from a hub is escaped.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolora.params import load
from autolora.report.newest import newest
from autolora.report.values import report_values
from autolora.storage.files import write_atomic

STYLES = (
    *(f"components/{name}.css" for name in ("tokens", "report")),
    "templates/style.css",
)

logger = logging.getLogger(__name__)


def assemble(root: Path) -> Path:
    """Write reports/index.html from what the stages have written so far; return its path."""
    params = load(root / "params.yaml") if (root / "params.yaml").is_file() else None
    values = report_values(root, params)
    values["newest"] = newest(root, params.hubs if params else None, values["record"])
    path = root / "reports" / "index.html"
    write_atomic(path, render(values))
    logger.info("wrote %s", path)
    return path


def render(values: Mapping[str, Any]) -> bytes:
    """Return the page as HTML in UTF-8; every value is escaped, and an unknown one is an error."""
    environment = Environment(
        loader=PackageLoader("autolora.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(environment.get_template(name).render() for name in STYLES)
    template = environment.get_template("templates/index.html")
    return template.render(**values, adapter_url=None, style=Markup(style)).encode()
