"""`python -m flows.remote_check`: write a small file to DVC's default remote and remove it; exit code 1 if it fails.

Nothing is printed, and nothing is done without a remote.
"""

import sys
from uuid import uuid4

from dvc.repo import Repo  # type: ignore[import-untyped]

from flows import dvc


def main() -> None:
    """Write and remove a file beside DVC's objects."""
    with Repo() as repo:
        if repo.config["core"].get("remote") is None:
            return
        store = repo.cloud.get_remote_odb()
        if not store.fs.exists(store.path) and dvc.read_pushed(dvc.remote_url() or ""):
            raise FileNotFoundError(
                f"{store.path}, to which batches were pushed, is not there: is it mounted?"
            )
        store.fs.makedirs(store.path, exist_ok=True)
        path = store.fs.join(store.path, f"autolora-{uuid4().hex}")
        store.fs.pipe_file(path, b"autolora doctor")
        store.fs.remove(path)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # whatever a file system of the many that DVC knows raises
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
