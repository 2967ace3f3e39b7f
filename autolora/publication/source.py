"""Where a published index comes from: a folder, or a repository on Hugging Face."""

from pathlib import Path

from autolora.errors import HubError
from autolora.publication.manifest import MANIFEST

LIBRARY = "autolora"
"""name of this library's part of the cache of huggingface_hub"""


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a published index."""
    return (folder / MANIFEST).is_file()


def is_hub_id(source: str) -> bool:
    """Return whether a text has the form of an id on Hugging Face (owner/name) and is not an existing path."""
    return source.count("/") == 1 and not source.startswith((".", "/", "~")) and not Path(source).exists()


def download(repo_id: str, revision: str | None) -> Path:
    """Return the folder of a repository's snapshot, whose missing files are downloaded.

    revision: a commit, branch or tag; None is the current version. Raises HubError if the download fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise HubError(
            f"cannot download {repo_id}@{revision or 'main'}: {str(error).splitlines()[0]}; check the id, the revision "
            "and your access (HF_TOKEN), or give the folder of a project or of a published index"
        ) from error


def upload(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload a published index to a repository, which is created if it is missing; return the commit.

    Files of an earlier version are deleted. Raises HubError if the upload fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Publish the index", delete_patterns="*"
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise HubError(
            f"cannot upload {folder} to {repo_id}: {str(error).splitlines()[0]}; check the id (owner/name) and that "
            "the token in the environment (HF_TOKEN) may write there"
        ) from error
    return str(commit.oid)


def cache_folder(name: str) -> Path:
    """Return a folder for what AutoLoRA keeps between processes, in the cache of huggingface_hub."""
    from huggingface_hub import cached_assets_path

    return Path(cached_assets_path(LIBRARY, name, "files"))
