"""The weights of the adapters of a published index: downloaded from their hubs when they are needed, and kept."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autolora.catalog.names import FOLDER_HUB
from autolora.errors import HubError, MissingArtifact, RefusedFile
from autolora.hubs.registry import open_hub
from autolora.lora.factors import Lora
from autolora.lora.slots import Slot
from autolora.params import HubsParams
from autolora.pool.weights import check_sha256, read_intact
from autolora.publication.manifest import SOURCES, PoolSettings
from autolora.storage.files import Row, read_rows

MAX_BYTES = 1 << 32
"""of a file, whatever size the published index states"""
OWN_ENDPOINT = "HF_ENDPOINT"
"""variable with the address of Hugging Face, or of a mirror, that the user has chosen"""
DELETE = "delete it, and it is downloaded again"


def load_lora(root: Path, cache: Path, sha256: str, slots: Sequence[Slot], settings: PoolSettings) -> Lora:
    """Return the updates of an adapter, downloading its file if it is not in the folder `cache`.

    root: folder of the published index. Raises MissingArtifact if no hub is known to offer the file, HubError if every
    download fails, and as `check_sha256` and `read_intact`.
    """
    path = cache / f"{sha256}.safetensors"
    if path.exists():
        check_sha256(path, sha256, DELETE)
    else:
        rows = read_rows(
            root / SOURCES
        )  # of a folder, it would be read from this machine, at the publisher's path
        sources = [row for row in rows if row["sha256"] == sha256 and row["hub"] != FOLDER_HUB]
        _download(sha256, sources, path, settings.hubs)
    return read_intact(path, sha256, slots, settings.pool, DELETE)


def _download(sha256: str, sources: Sequence[Row], path: Path, hubs: HubsParams) -> None:
    """Download a file from the first source that offers it with this sha256, without any access token.

    The settings of a published index come from its publisher, so no token is sent to the hubs that they name, and
    only public addresses are asked by https, but for the user's own OWN_ENDPOINT.
    """
    if not sources:
        raise MissingArtifact(
            f"no hub is known to offer the weights of {sha256}: they were in a folder of the publisher, or withdrawn"
        )
    failures = []
    own = os.environ.get(OWN_ENDPOINT, "").rstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        for source in sources:
            target = Path(temporary) / "weights"
            is_own = source["hub"] == "huggingface" and hubs.huggingface.endpoint.rstrip("/") == own
            try:
                actual = open_hub(source["hub"], hubs, {}, is_own).download(
                    source["url"], target, min(source["size"] or MAX_BYTES, MAX_BYTES)
                )
            except (HubError, RefusedFile) as error:
                failures.append(str(error))
                continue
            if actual == sha256:
                target.replace(path)
                return
            failures.append(f"hub {source['hub']}: {source['url']} now has sha256 {actual[:12]}")
    raise HubError(
        f"the weights of {sha256} cannot be downloaded: {'; '.join(failures)}; no access token is sent, so a file that "
        f"needs one must be downloaded by hand, to {path}"
    )
