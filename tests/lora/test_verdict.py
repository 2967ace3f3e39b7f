"""Reason and warning codes are documented, and only documented codes are raised."""

import ast
import re
from pathlib import Path

from autolora.lora.remedies import REMEDIES
from autolora.lora.verdict import REASONS, WARNINGS, refusal

ROOT = Path(__file__).parents[2]


def test_documentation_lists_every_reason() -> None:
    text = (ROOT / "docs" / "howto" / "verdicts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)
    assert {code: meaning for code, meaning, _ in rows} == REASONS
    assert [code for code, *_ in rows] == list(REASONS)
    assert {code: _plain(remedy) for code, _, remedy in rows} == REMEDIES


def _plain(markdown: str) -> str:
    """Return a sentence without links and code marks."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown).replace("`", "")


def test_documentation_lists_every_warning() -> None:
    text = (ROOT / "docs" / "howto" / "verdicts.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \|$", text, flags=re.MULTILINE) == list(
        WARNINGS.items()
    )


def test_every_raised_code_is_documented() -> None:
    for path in (ROOT / "autolora" / "lora").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "refusal":
                code = node.args[0]
                assert not isinstance(code, ast.Constant) or code.value in REASONS


def test_refusal_has_code_meaning_and_detail() -> None:
    error = refusal("dora", "3 such keys")
    assert error.code == "dora"
    assert str(error) == f"{REASONS['dora']}: 3 such keys"
