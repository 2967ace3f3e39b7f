"""Numbers as files hold them: rounded, in JSON of reproducible bytes."""

import json
from typing import Any

DIGITS = 6


def rounded(value: Any) -> Any:
    """Return a JSON value with every float in it rounded to 6 digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value  # + 0.0 turns -0.0 into 0.0


def to_json(value: Any) -> str:
    """Return a JSON value as sorted, indented text: equal values give equal text."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
