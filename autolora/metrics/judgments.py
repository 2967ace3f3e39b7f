"""Judgments: the theme of an adapter as a person or an oracle labeled it, by the sha256 of its file."""

import json
from dataclasses import dataclass
from pathlib import Path

from autolora.errors import MismatchError, MissingArtifact


@dataclass(frozen=True, slots=True)
class Judgment:
    """The theme of an adapter, and its kind (object, style, …) if that is labeled too."""

    theme: str
    kind: str | None


def read_judgments(path: Path | None) -> dict[str, Judgment]:
    """Read a file of judgments, adapter sha256 -> {"theme": …, "kind": …}; empty if `path` is None.

    Raises MissingArtifact when the file does not exist, MismatchError when its content has another form.
    """
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {sha256: Judgment(str(row["theme"]), row.get("kind")) for sha256, row in content.items()}
    except FileNotFoundError as error:
        raise MissingArtifact(
            f"{path} does not exist: correct evaluation.themes, or set it to null"
        ) from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise MismatchError(
            f'{path} is not a file of judgments ({error!r}): expected {{"<adapter sha256>": {{"theme": …}}, …}}; '
            "correct the file or evaluation.themes in params.yaml"
        ) from error
