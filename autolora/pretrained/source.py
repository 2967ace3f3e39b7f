"""Where a pretrained model comes from: a folder, or a repository on Hugging Face."""

from collections.abc import Mapping
from pathlib import Path

from autolora.errors import MissingArtifact, ParamsError
from autolora.hubs.huggingface.repositories import download, is_hub_id
from autolora.pretrained.config import NAMES, PATTERNS, Kind

SECTIONS: Mapping[Kind, str] = {"encoder": "encoder", "gates": "fusion"}
"""section of params.yaml that names a pretrained model of a kind"""


def locate(source: str | Path, revision: str | None, kind: Kind) -> Path:
    """Return the folder of a pretrained model; that of a Hugging Face id is downloaded, unless it is in the cache.

    revision: a commit, branch or tag of an id; None is its current version. Ignored with a folder.
    Raises MissingArtifact if the source is neither an existing folder nor a Hugging Face id, HubError if the download
    fails.
    """
    if is_hub_id(source):
        return download(str(source), revision, PATTERNS)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise MissingArtifact(
            f"{source} is neither an existing folder nor a Hugging Face id (owner/name): give the folder of "
            f"{NAMES[kind]}, which `autolora publish {kind} FOLDER` writes, or an id"
        )
    return folder


def locate_pinned(kind: Kind, source: str | None, revision: str | None) -> Path:
    """Return the folder of the pretrained model that params.yaml names by `from` and `from_revision`.

    Raises ParamsError if an id has no revision, and as `locate`.
    """
    section = SECTIONS[kind]
    assert source is not None, f"{section}.from is null"
    if is_hub_id(source) and revision is None:
        raise ParamsError(
            f"{section}.from is {source}, a Hugging Face id without a revision: set {section}.from_revision in "
            "params.yaml to a commit of it"
        )
    return locate(source, revision, kind)
