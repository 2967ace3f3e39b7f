"""The pinned queries: prompts that every release answers, one per line of QUERIES_FILE."""

from pathlib import Path

from autolora.errors import ParamsError

QUERIES_FILE = Path("profiles/queries.txt")


def read_queries(root: Path) -> list[str]:
    """Return the pinned queries; lines that are empty or begin with # are left out.

    Raises ParamsError if there is none.
    """
    path = root / QUERIES_FILE
    if not path.is_file():
        raise ParamsError(
            f"{QUERIES_FILE}, by whose prompts releases are compared, is missing: write it, one prompt per line"
        )
    lines = [line.strip() for line in path.read_text().splitlines()]
    queries = [line for line in dict.fromkeys(lines) if line and not line.startswith("#")]
    if not queries:
        raise ParamsError(f"{QUERIES_FILE} has no prompt: write some, one per line")
    return queries
