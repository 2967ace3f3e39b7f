"""Where a pretrained model comes from: a folder, or a repository on Hugging Face."""

from collections.abc import Mapping
from pathlib import Path

from autolora.errors import HubError, MissingArtifact, ParamsError
from autolora.pretrained.config import CARD, CONFIG, NAMES, PIPELINE, WEIGHTS, Kind

PATTERNS = (CONFIG, WEIGHTS, CARD, f"{PIPELINE}/*")
"""files of a repository that are downloaded"""
SECTIONS: Mapping[Kind, str] = {"encoder": "encoder", "gates": "fusion"}
"""section of params.yaml that names a pretrained model of a kind"""


def is_hub_id(source: str | Path) -> bool:
    """Return whether a source is not an existing folder and has the form of a Hugging Face id, owner/name."""
    text = str(source)
    is_path = isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1
    return not is_path and not Path(text).is_dir()


def locate(source: str | Path, revision: str | None, kind: Kind) -> Path:
    """Return the folder of a pretrained model; that of a Hugging Face id is downloaded, unless it is in the cache.

    revision: a commit, branch or tag of an id; None is its current version. Ignored with a folder.
    Raises MissingArtifact if the source is neither an existing folder nor a Hugging Face id, HubError if the download
    fails.
    """
    if is_hub_id(source):
        return _download(str(source), revision)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise MissingArtifact(
            f"{source} is neither an existing folder nor a Hugging Face id (owner/name): give the folder of "
            f"{NAMES[kind]}, which `autolora publish-{kind} FOLDER` writes, or an id"
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


def first_line(error: Exception) -> str:
    """Return the first line of an error of huggingface_hub, which has several."""
    return str(error).partition("\n")[0] or type(error).__name__


def _download(repo_id: str, revision: str | None) -> Path:
    """Download the missing files of a repository's snapshot, and return its folder, which is named by the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{repo_id}@{revision or 'main'}"
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(PATTERNS)))
    except RevisionNotFoundError as error:
        raise HubError(f"{repo_id} has no revision {revision}: give a commit of that repository") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{repo_id} does not exist on Hugging Face, or is private: check the id, or give a token with access to it "
            "in the environment (HF_TOKEN)"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise HubError(
            f"cannot download {name}: {first_line(error)}; check the connection (HF_ENDPOINT) and your access, "
            "or give a folder"
        ) from error
