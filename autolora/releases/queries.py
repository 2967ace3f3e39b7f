"""The pinned queries: prompts that every release answers, one per line of the file refresh.queries."""

from pathlib import Path

from autolora.errors import ParamsError


def read_queries(root: Path, file: str) -> list[str]:
    """Return the pinned queries; lines that are empty or begin with # are left out.

    file: relative to the root of the repository. Raises ParamsError if there is none.
    """
    path = root / file
    if not path.is_file():
        raise ParamsError(
            f"refresh.queries names {file}, which is not a file: give a text file, one prompt per line"
        )
    lines = [line.strip() for line in path.read_text().splitlines()]
    queries = [line for line in dict.fromkeys(lines) if line and not line.startswith("#")]
    if not queries:
        raise ParamsError(f"refresh.queries names {file}, which has no prompt: give one per line")
    return queries
