"""A project for one's own files: a folder with params.yaml, from which everything else is made."""

import sys
from collections.abc import Mapping
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from autolora.errors import MissingArtifact, ParamsError
from autolora.storage.files import write_atomic

PARAMS_FILE = "params.yaml"
TEMPLATE = Path(__file__).with_name("template.yaml")
"""profiles/flux.1-dev.yaml: a link in the sources, a copy in the installed package"""
OWN_FILES: Mapping[str, Any] = {
    "crawl.hubs": ["folder"],
    "crawl.bases": [],  # the pool decides by the weights, and labels in sidecars are often wrong
    "crawl.max_nsfw_level": "blocked",  # own files are indexed whatever their rating; searches have filters
    "crawl.persons": True,
    "crawl.max_new_files": None,
    "crawl.min_free_gb": None,
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
    if path.exists():
        raise ParamsError(f"{path} exists already: edit it, or use another folder for a new project")
    text = set_values(TEMPLATE.read_text(encoding="utf-8").lstrip(), {**OWN_FILES, **values})
    write_atomic(path, _with_title(text))
    return path


def train_until(root: Path, day: date) -> None:
    """Write the day up to which adapters train the models into params.yaml."""
    path = root / PARAMS_FILE
    text = set_values(path.read_text(encoding="utf-8"), {"dataset.train_until": day.isoformat()})
    write_atomic(path, text)


def set_values(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a params file with these values (dotted key -> value); comments and all else stay.

    Raises KeyError if the file has no such key, ParamsError if it has a key twice, which PyYAML accepts.
    """
    from ruamel.yaml.constructor import DuplicateKeyError

    editor = _editor()
    try:
        content = editor.load(text)
    except DuplicateKeyError as error:
        raise ParamsError(f"params.yaml: {error.problem}: keep one of them") from error
    for dotted, value in values.items():
        *names, last = dotted.split(".")
        section = content
        for name in names:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise KeyError(dotted)
        # as PyYAML quotes it: it reads the file as YAML 1.1, where an unquoted yes is true
        section[last] = editor.load(yaml.safe_dump(value, default_flow_style=True, allow_unicode=True))
        if comment := section.ca.items.get(last):  # type: ignore[attr-defined]  # of ruamel
            # of a list in lines, which the value on one line is not: ruamel would join later lines
            comment[3] = None
    changed = StringIO()
    editor.dump(content, changed)
    return changed.getvalue()


def _editor() -> Any:
    """Return a reader and writer of YAML that keeps comments, quotes, and null as a word."""
    from ruamel.yaml import YAML  # here, because searches import this module and edit nothing

    editor = YAML()
    editor.preserve_quotes, editor.width = True, sys.maxsize
    representer = editor.representer
    representer.yaml_representers = representer.yaml_representers | {type(None): _represent_none}
    return editor


def _represent_none(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _with_title(text: str) -> str:
    """Return the text of a params file with the title of a project for own files instead of the template's."""
    body = text.split("\n\n", 1)[1]
    return f"# Params of this project (`autolora index`): search one's own LoRA files.\n\n{body}"
