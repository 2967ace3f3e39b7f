"""What the commands for one's own files share: their outputs, folders, and a project that may be missing."""

from pathlib import Path

import typer

from autolora.cli.command import enter_repository
from autolora.cli.paths import check_can_write
from autolora.local.project import PARAMS_FILE, find_project
from autolora.params import Params


def enter_project() -> tuple[Path | None, Params | None]:
    """Change the working directory to the root of its project, and return the root and its params; None without one.

    A params.yaml without the section `pool` is another tool's.
    """
    root = find_project(Path.cwd())
    if root is None or not has_section(root / PARAMS_FILE, "pool"):
        return None, None
    return enter_repository()


def has_section(path: Path, name: str) -> bool:
    """Return whether a line of a YAML file begins a section of this name."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.startswith(f"{name}:") for line in lines)


def check_output(path: Path, suffix: str) -> None:
    """Raise a usage error if a file has another suffix or cannot be written."""
    if path.suffix.lower() != suffix:
        raise typer.BadParameter(f"{path} must be a file that ends in {suffix}", param_hint="-o")
    check_can_write(path, 0, "-o")


def absolute_folder(name: str | None) -> str | None:
    """Return a folder's name as an absolute path; other names, such as hub ids, unchanged."""
    folder = None if name is None else Path(name).expanduser()
    return str(folder.absolute()) if folder and folder.is_dir() else name
