"""`python -m flows.fetch`: fetch files of evicted batches from DVC's cache or remote, without a lock.

Reads a JSON object from standard input: path in the project -> path to write. The project stays as it is, so that a
search or an image need not wait for a refresh that holds DVC's lock.
"""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from dvc.api import DVCFileSystem  # type: ignore[import-untyped]  # DVC has no type hints

from autolora.pool.evicted import DISK_FULL
from autolora.storage.files import DISK_FULL_ERRNOS
from autolora.storage.hashes import hash_file

BLOCK = 1 << 22
"""bytes per read"""
CONNECTIONS = 8


def main() -> None:
    """Write each file under its path, whole or not at all; raises ValueError if the remote has another content."""
    files: dict[str, str] = json.load(sys.stdin)
    system = DVCFileSystem(subrepos=False)
    expected = {name: system.info(name)["md5"] for name in files}
    with ThreadPoolExecutor(CONNECTIONS) as executor:
        list(executor.map(lambda name: _fetch(system, name, expected[name], Path(files[name])), files))


def _fetch(system: DVCFileSystem, name: str, md5: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid4().hex}")
    try:
        with system.open(name, "rb") as source, temporary.open("wb") as stream:
            shutil.copyfileobj(source, stream, BLOCK)
        if (actual := hash_file(temporary, "md5")) != md5:
            raise ValueError(f"{name}: the remote has another content (md5 {actual}, expected {md5})")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # whatever a file system of the many that DVC knows raises
        is_disk_full = isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(DISK_FULL if is_disk_full else 1) from None
