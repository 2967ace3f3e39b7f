"""Numbers as they go to files: rounded, in JSON whose equal values give equal bytes."""

import json
from typing import Any

DIGITS = 6


def rounded(value: Any) -> Any:
    """Return a JSON value with every float in it rounded to 6 digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value


def to_json(value: Any) -> str:
    """Return a JSON value as sorted, indented text for files that people compare."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
