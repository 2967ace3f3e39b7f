"""Copies of params.yaml with one value changed."""

from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path: Path, section: str, key: str, value: Any) -> Path:
    """Return a copy of params.yaml with one value changed, or removed if it is `...`."""
    content = yaml.safe_load(SHIPPED.read_text())
    if value is ...:
        del content[section][key]
    else:
        content[section][key] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
