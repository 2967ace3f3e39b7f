"""One term per concept (docs/glossary.md): replaced words and identifiers occur nowhere."""

import ast
import re
from pathlib import Path

import pytest

from autolora.params.reader import RENAMED

ROOT = Path(__file__).parents[1]
WORDS = (
    "alike", "anew", "artefact", "behaviour", "centre", "colour", "eve", "glimpse", "in vain", "lacks", "licence",
    "look at the hub", "morning", "night", "objection", "on the road", "picture", "redraw", "road", "set aside",
    "setback", "stranger", "sweep", "swept", "told", "witness", "by the hub's word",
)  # fmt: skip
"""replaced words of prose; plurals included"""
IDENTIFIERS = {
    "Claim", "EncoderForm", "FusionForm", "Intake", "Interrupted", "Joint", "Ledger", "Look", "MissingArtefact",
    "NotGiven", "Origins", "Setback", "Shown", "Standing", "Stock", "Subject", "Terms", "Trial", "Updates", "Walk",
    "Witness", "age", "bury", "glimpse", "had", "judging", "licence", "morning", "nights", "objection",
    "on_the_road", "openings", "pass_over", "persist", "redraw", "set_aside", "settle", "standing", "sweep_days",
    "swept", "told_repo",
}  # fmt: skip
"""replaced names of classes, functions, arguments, fields and variables"""
PROSE = ("autolora", "flows", "docs")
CODE = ("autolora", "flows", "bench", "studies", "playground")


def prose_files() -> list[Path]:
    """Return the files whose text is checked: code and documents, but not the dated log."""
    files = [path for top in PROSE for path in (ROOT / top).rglob("*") if path.suffix in TEXT_SUFFIXES]
    return [*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "params.yaml"]


TEXT_SUFFIXES = {".py", ".md", ".html", ".js", ".css"}


@pytest.mark.parametrize("path", [p for p in prose_files() if p.name != "LOG.md"], ids=lambda p: p.name)
def test_prose_contains_no_replaced_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for quoted in (*QUOTED, *(f'"{key}"' for key in RENAMED)):
        text = text.replace(quoted, "")
    pattern = re.compile(rf"\b(?:{'|'.join(WORDS)})s?\b", re.IGNORECASE)
    lines = [line for line in text.splitlines() if pattern.search(line)]
    assert not lines, f"{path.relative_to(ROOT)}: use the terms of docs/glossary.md in:\n" + "\n".join(lines)


QUOTED = (
    "a picture of an orange duck",
    "Name this picture in a few words.", "Describe this picture in one sentence.",
    "Describe this picture in detail.", "Does this picture show",
)  # fmt: skip
"""texts that the playground's models were trained on"""


@pytest.mark.parametrize("top", CODE)
def test_code_contains_no_replaced_identifier(top: str) -> None:
    used = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / top).rglob("*.py")
        for name in names_in(ast.parse(path.read_text(encoding="utf-8"))) & IDENTIFIERS
    }
    assert not used


def names_in(tree: ast.Module) -> set[str]:
    """Return all names that a module defines, assigns, imports or reads."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name))
            ):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=alias):
                names |= {*name.split("."), alias or ""}
    return names
