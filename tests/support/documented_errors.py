"""The error messages of docs/howto/errors.md."""

import re
from pathlib import Path
from textwrap import dedent

PAGE = Path(__file__).parents[2] / "docs/howto/errors.md"


def documented_messages() -> list[str]:
    """Return the messages, one or more lines each, with … for what varies.

    In the document a message is indented text that begins with the name of its exception.
    """
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^    \w+: .*\n(?:\n?    (?!\w+: ).*\n)*", text, flags=re.MULTILINE)
    return [dedent(block).strip() for block in blocks]
