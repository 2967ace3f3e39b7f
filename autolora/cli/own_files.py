"""What the commands for one's own files share: folders, and a project that may be missing."""

from pathlib import Path

from autolora.cli.command import announce, enter_repository
from autolora.errors import MissingArtifact, ParamsError
from autolora.params import Params


def enter_project() -> tuple[Path | None, Params | None]:
    """Change the working directory to the root of its project, and return the root and its params; None without one.

    A params.yaml that AutoLoRA cannot read, e.g. that of another tool, is named and left alone.
    """
    try:
        return enter_repository()
    except MissingArtifact:
        pass
    except ParamsError as error:
        announce(f"going on without a project: {error}")
    return None, None


def absolute_folder(name: str | None) -> str | None:
    """Return a folder's name as an absolute path; other names, such as hub ids, unchanged."""
    folder = None if name is None else Path(name).expanduser()
    return str(folder.absolute()) if folder and folder.is_dir() else name
