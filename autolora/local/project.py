"""A project for one's own files: a folder with params.yaml, from which everything else is made."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autolora.errors import MissingArtifact, ParamsError

PARAMS_FILE = "params.yaml"
TEMPLATE = Path(__file__).with_name("template.yaml")
"""profiles/flux.1-dev.yaml: a link in the sources, a copy in the installed package"""
COMMENT_COLUMN = 40
OWN_FILES: Mapping[str, Any] = {
    "crawl.hubs": ["folder"],
    "crawl.bases": [],  # the pool decides by the weights, and labels in sidecars are often wrong
    "crawl.max_nsfw_level": "blocked",  # own files are indexed whatever their rating; searches have filters
    "crawl.persons": True,
    "crawl.budget.files": None,
    "crawl.budget.gb": None,
    "crawl.budget.captions": None,
    "captions.engine": None,
    "evaluation.themes": None,
}
"""values of a new project that differ from the template's"""


def find_project(here: Path) -> Path | None:
    """Return the nearest folder with params.yaml, `here` or above it; None if there is none."""
    return next((folder for folder in (here, *here.parents) if (folder / PARAMS_FILE).exists()), None)


def check_folder(root: Path, folder: Path) -> None:
    """Raise ParamsError if a project lies in the folder of files that it indexes, MissingArtifact if there is none.

    Otherwise the project's own files would be indexed as well, and other programs would list them as LoRAs.
    """
    if not folder.is_dir():
        raise MissingArtifact(
            f"{folder} is not a folder: give the folder of your LoRA files, and check that it is mounted"
        )
    if root.resolve().is_relative_to(folder):
        raise ParamsError(
            f"{root} lies in the folder of LoRA files, {folder}: run `autolora index {folder}` in another folder, so "
            "that the files of the project are not among your own"
        )


def write_project(root: Path, values: Mapping[str, Any]) -> Path:
    """Write the params.yaml of a new project and return its path.

    values: dotted key -> value, e.g. hubs.folder.path; the others are those of OWN_FILES and of the template.
    Raises ParamsError if the file exists.
    """
    path = root / PARAMS_FILE
    text = set_values(TEMPLATE.read_text(encoding="utf-8").lstrip(), {**OWN_FILES, **values})
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(_with_title(text))
    except FileExistsError as error:
        raise ParamsError(
            f"{path} exists already: edit it, or use another folder for a new project"
        ) from error
    return path


def set_values(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a params file with these values (dotted key -> value); comments and all else stay.

    Raises KeyError if the file has no such key.
    """
    lines = text.split("\n")
    for dotted, value in values.items():
        position = _find_line(lines, dotted)
        head = re.match(r"\s*\w+:", lines[position])
        comment = re.search(r"\s#.*$", lines[position])
        assert head is not None
        line = f"{head[0]} {_to_yaml(value)}"
        lines[position] = f"{line:{COMMENT_COLUMN - 2}}  {comment[0].strip()}" if comment else line
    return "\n".join(lines)


def _to_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def _find_line(lines: list[str], dotted: str) -> int:
    """Return the number of the line that holds a value. Raises KeyError if there is none."""
    position = -1
    for depth, name in enumerate(dotted.split(".")):
        start, indent = position + 1, "  " * depth
        for position in range(start, len(lines)):
            line = lines[position]
            if line.startswith(f"{indent}{name}:"):
                break
            if depth and line.strip() and not line.startswith(indent):  # the section has ended
                raise KeyError(dotted)
        else:
            raise KeyError(dotted)
    return position


def _with_title(text: str) -> str:
    """Return the text of a params file with the title of a project for own files instead of the template's."""
    body = text.split("\n\n", 1)[1]
    return f"# Params of this project (`autolora init`): search one's own LoRA files.\n\n{body}"
