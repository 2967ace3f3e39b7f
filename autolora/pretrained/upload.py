"""Upload of a pretrained model's folder to Hugging Face."""

from pathlib import Path

from autolora.hubs.huggingface.repositories import upload
from autolora.pretrained.config import PATTERNS, Kind
from autolora.pretrained.folder import read_folder


def push_to_hub(folder: Path, repo_id: str, kind: Kind, *, private: bool = False) -> str:
    """Upload a folder to a Hugging Face repository, which is created if it does not exist; return the commit.

    Raises MissingArtifact if the folder is damaged, MismatchError if it holds something else, HubError if the upload
    fails.
    """
    read_folder(folder, kind)
    return upload(folder, repo_id, PATTERNS, private=private, message=f"Publish the {kind}")
