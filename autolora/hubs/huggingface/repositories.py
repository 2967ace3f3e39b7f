"""Repositories on Hugging Face that hold what AutoLoRA publishes, downloaded and uploaded by the official client.

Its address, token and cache come from the environment: HF_ENDPOINT, HF_TOKEN (or `hf auth login`), HF_HOME.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from autolora.errors import HubError, MissingArtifact
from autolora.hubs.validation import is_repo_id
from autolora.storage.hashes import HashFile, hash_file

logger = logging.getLogger(__name__)
LIBRARY = "autolora"
"""name of this library's part of the client's cache"""


def is_hub_id(source: str | Path) -> bool:
    """Return whether a source has the form of a Hugging Face id, owner/name, and is not an existing path."""
    return is_repo_id(source) and not source.startswith(".") and not Path(source).exists()


def download(repo_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Return the folder of a repository's snapshot, which is named by the commit; missing files are downloaded.

    revision: a commit, branch or tag; None is the current version, which is said, as the id may be a mistyped path.
    patterns: of the files that are needed. Raises HubError if the download fails, MissingArtifact if a folder here has
    the name of the owner, and no revision is given.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if revision is None:
        owner = repo_id.partition("/")[0]
        if Path(owner).exists():
            raise MissingArtifact(
                f"{repo_id} does not exist, but {owner} does, so it is not taken for a Hugging Face id: correct the "
                "path, or give the revision of the id"
            )
        logger.warning(
            "there is no folder %s: asking %s for what %s has published under that id; give a revision to pin it",
            *(repo_id, constants.ENDPOINT, owner),
        )
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns)))
    except RevisionNotFoundError as error:
        raise HubError(f"{repo_id} has no revision {revision}: give a commit of that repository") from error
    except GatedRepoError as error:
        raise HubError(
            f"access to {repo_id} is restricted: request it on its page on Hugging Face, and give your token in the "
            "environment (HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{repo_id} does not exist on Hugging Face, or is private: check the id, or give a token with access to it "
            "in the environment (HF_TOKEN)"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise HubError(
            f"cannot download {repo_id}@{revision or 'main'}: {_first_line(error)}; check the connection (HF_ENDPOINT) "
            "and your access, or give a folder"
        ) from error


def check_files(
    folder: Path, files: Mapping[str, str], listed_in: str, remedy: str, hash_one: HashFile = hash_file
) -> None:
    """Raise MissingArtifact if a file of a published folder is missing or damaged.

    files: name -> sha256, as the file `listed_in` states. remedy: what to do. hash_one: returns the sha256 of a file.
    """
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise MissingArtifact(f"{path} is missing, but {listed_in} lists it: {remedy}")
        if hash_one(path) != sha256:
            raise MissingArtifact(f"{path} is damaged, its sha256 is not that in {listed_in}: {remedy}")


def is_inside(name: str) -> bool:
    """Return whether the name of a published file stays within its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def check_upload(repo_id: str) -> None:
    """Raise HubError if nothing can be uploaded to a repository: its id is invalid, or there is no token."""
    from huggingface_hub import get_token

    if not is_repo_id(repo_id):
        raise HubError(
            f"cannot upload to {repo_id!r}: give the id of a repository on Hugging Face, owner/name"
        )
    if get_token() is None:
        raise HubError(
            f"cannot upload to {repo_id} without a token: give one that may write there in the environment (HF_TOKEN), "
            "or run `hf auth login`"
        )


def upload(folder: Path, repo_id: str, patterns: Sequence[str], *, private: bool, message: str) -> str:
    """Upload a folder to a repository, which is created if it does not exist; return the commit.

    patterns: of the files that are uploaded; those of an earlier version that the folder does not contain are deleted.
    private: of a new repository. message: of the commit. Raises HubError if the upload fails.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi

    check_upload(repo_id)
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        with warnings.catch_warnings():  # the client asks whether columns.arrow belongs into a data set
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=message,
                allow_patterns=list(patterns),
                delete_patterns=list(patterns),
            )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise HubError(
            f"cannot upload {folder} to {repo_id}: {_first_line(error)}; check that the token in the environment "
            "(HF_TOKEN) may write there, and the connection (HF_ENDPOINT)"
        ) from error
    return str(commit.oid)


def cache_folder(name: str) -> Path:
    """Return a folder of the client's cache for what AutoLoRA keeps between processes."""
    from huggingface_hub import cached_assets_path

    return Path(cached_assets_path(LIBRARY, name, "files"))


def _first_line(error: Exception) -> str:
    """Return the first line of an error of the client, which explains itself in several."""
    return str(error).partition("\n")[0] or type(error).__name__
