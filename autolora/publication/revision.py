"""Params and gates of a git revision, which belong to the index that was committed with them."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autolora.errors import ParamsError
from autolora.fusion import store as fusion
from autolora.index.served import fetch_output
from autolora.params import Params, load
from autolora.storage.files import read_json
from autolora.storage.git import read_committed, read_revisions
from autolora.storage.incremental import digest_path

PARAMS, DIGEST = "params.yaml", "digests/fusion.json"


def params_of(root: Path, rev: str) -> Params:
    """Return the params of a revision.

    Raises MissingArtifact if it has none, ParamsError if another version of AutoLoRA wrote them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / PARAMS
        path.write_text(read_committed(root, rev, PARAMS), encoding="utf-8")
        try:
            return load(path)
        except ParamsError as error:
            reason = str(error).replace(str(path), PARAMS)
            raise ParamsError(
                f"this version of AutoLoRA cannot read the settings of revision '{rev}' ({reason}): publish its index "
                "with the code of that revision"
            ) from error


@contextmanager
def gates_of(root: Path, rev: str) -> Iterator[Path | None]:
    """Yield the folder of the gates of a revision, from the working tree or through DVC; None if it has none.

    Raises MissingArtifact if they are not at hand.
    """
    committed = read_revisions(root, [rev], DIGEST).get(rev)
    if committed is None:
        yield None
    elif json.loads(committed) == read_json(digest_path(root, "fusion")) and any(
        fusion.folder(root).glob("*")
    ):
        yield fusion.folder(root)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            fetched = Path(temporary) / "fusion"
            fetch_output(root, rev, fusion.folder(Path()), fetched)
            yield fetched


@contextmanager
def working_gates(root: Path) -> Iterator[Path | None]:
    """Yield the folder of the gates of the working tree; None if it has none."""
    yield fusion.folder(root) if any(fusion.folder(root).glob("*")) else None
