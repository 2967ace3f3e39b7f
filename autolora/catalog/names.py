"""The names of listed files, as commands print and accept them."""

FOLDER_HUB = "folder"


def full_name(hub: str, id: str, file: str) -> str:
    """Return the full name of a listed file: hub:id/file; of a file in a folder, folder:path."""
    return f"{hub}:{path_in_hub(hub, id, file)}"


def path_in_hub(hub: str, id: str, file: str) -> str:
    """Return id/file. The id of a file in a folder is its path without the suffix; its path is returned then."""
    if hub != FOLDER_HUB:
        return f"{id}/{file}"
    folder, slash, _ = id.rpartition("/")
    return f"{folder}{slash}{file}"
