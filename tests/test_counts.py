"""The numbers of things that one has to know: a table in CONTRIBUTING.md states them, and why one was raised."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from autolora.cli import app

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (kinds of files|params|options|commands|pages) \| (\d+) \| (.*) \|$", re.MULTILINE)


def commands(command: Any, name: str = "autolora") -> Iterator[tuple[str, Any]]:
    """Yield each command that is no group, with its name."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, below in command.commands.items():
        yield from commands(below, f"{name} {part}")


def keys(values: object, path: str) -> list[str]:
    """Return the dotted paths of values that are no mappings; an empty mapping is a value."""
    if not isinstance(values, dict) or not values:
        return [path]
    return [key for name, below in values.items() for key in keys(below, f"{path}.{name}".strip("."))]


def named(root: Path = ROOT) -> dict[str, list[str]]:
    """Return what there is of each kind, by name."""
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    files = text.partition("\n## Files\n")[2].partition("\n## ")[0]
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    for section in ("encoder", "fusion"):
        params[section]["overrides"] = {}  # fields of a preset
    every = list(commands(typer.main.get_command(app)))
    return {
        "kinds of files": re.findall(r"^\| (?!path |-)(.*?) \|", files, re.MULTILINE),
        "params": keys(params, ""),
        "options": [
            f"{name} {option.opts[-1]}"
            for name, command in every
            for option in command.params
            if option.param_type_name == "option"
        ],
        "commands": [name for name, _ in every],
        "pages": [str(page.relative_to(root)) for page in sorted((root / "docs").rglob("*.md"))],
    }


def faults(found: dict[str, list[str]], text: str) -> list[str]:
    """Return what the table in a text says wrongly, in sentences."""
    stated: dict[str, list[tuple[int, str]]] = {name: [] for name in found}
    for name, number, reason in ROW.findall(text):
        stated[name].append((int(number), reason.strip()))
    return [
        f"there are {len(found[name])} {name}, and CONTRIBUTING.md states {rows[-1][0] if rows else 'no number'}: "
        "remove one first, or add a row with the new number and the reason; lower the last row if there are fewer"
        for name, rows in stated.items()
        if not rows or rows[-1][0] != len(found[name])
    ] + [
        f"CONTRIBUTING.md raises {name} from {before} to {after} without a reason"
        for name, rows in stated.items()
        for (before, _), (after, reason) in pairwise(rows)
        if after > before and not reason
    ]


def test_numbers_are_those_that_were_agreed() -> None:
    assert faults(named(), (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", ["kinds of files", "params", "options", "commands", "pages"])
def test_a_raise_needs_a_row_with_its_reason(name: str) -> None:
    found = named()
    text = "".join(f"| {kind} | {len(names)} |  |\n" for kind, names in found.items())
    assert faults(found, text) == []
    more = found | {name: [*found[name], "one more"]}
    (fault,) = faults(more, text)
    assert fault.startswith(
        f"there are {len(more[name])} {name}, and CONTRIBUTING.md states {len(found[name])}"
    )
    row = f"| {name} | {len(more[name])} |"
    assert faults(more, f"{text}{row} without it no card is planned for |") == []
    assert "without a reason" in faults(more, f"{text}{row}  |")[0]


def test_a_planted_key_and_a_planted_page_are_counted(tmp_path: Path) -> None:
    for name in ("docs/architecture.md", "params.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    before = named(tmp_path)
    with (tmp_path / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("planted:\n  key: 1\n")
    (tmp_path / "docs/planted.md").write_text("# Planted\n", encoding="utf-8")
    after = named(tmp_path)
    assert set(after["params"]) - set(before["params"]) == {"planted.key"}
    assert set(after["pages"]) - set(before["pages"]) == {"docs/planted.md"}
