"""Upload of a pretrained model's folder to Hugging Face."""

from pathlib import Path

from autolora.errors import HubError
from autolora.pretrained.config import Kind
from autolora.pretrained.folder import read_folder
from autolora.pretrained.source import PATTERNS, first_line


def push_to_hub(folder: Path, repo_id: str, kind: Kind, *, private: bool = False) -> str:
    """Upload a folder to a Hugging Face repository, which is created if it does not exist; return the commit.

    Files of an earlier version that the folder does not contain are deleted there. The token is that of the
    environment (HF_TOKEN) or of `hf auth login`.
    Raises MissingArtifact if the folder is damaged, MismatchError if it holds something else, HubError if the upload
    fails.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    read_folder(folder, kind)
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=f"Upload {kind}",
            allow_patterns=list(PATTERNS),
            delete_patterns=list(PATTERNS),
        )
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError, ValueError, RuntimeError) as error:
        raise HubError(
            f"cannot upload {folder} to {repo_id}: {first_line(error)}; check the id (owner/name), that the token in "
            "the environment (HF_TOKEN) may write there, and the connection (HF_ENDPOINT)"
        ) from error
    return str(commit.oid)
