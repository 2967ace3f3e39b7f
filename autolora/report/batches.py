"""How much of the pool's batches is on this disk, and how much in DVC's remote only."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from autolora.pool.batches import batch_names, batches_folder
from autolora.pool.evicted import evicted_batches, fetched_files, limit_bytes
from autolora.storage.files import GB
from autolora.wording import counted


def storage_summary(root: Path) -> dict[str, Any] | None:
    """Return how many batches and GB are here and in the remote only, by their .dvc files; None if nothing is evicted.

    GB here include files of evicted batches that were fetched.
    """
    if limit_bytes(root) is None:
        return None
    evicted = {*evicted_batches(root)}
    here = {*batch_names(root)}
    return {
        "limit_gb": (limit_bytes(root) or 0) / GB,
        "batches_here": len(here),
        "gb_here": (_recorded_bytes(root, here) + sum(status.st_size for _, status in fetched_files(root)))
        / GB,
        "batches_evicted": len(evicted),
        "gb_evicted": _recorded_bytes(root, evicted) / GB,
    }


def describe_storage(values: Mapping[str, Any] | None) -> str:
    """Return a summary as a phrase; empty if nothing is evicted."""
    if not values:
        return ""
    total = values["batches_evicted"] + values["batches_here"]
    return (
        f"{values['gb_here']:,.3g} GB here (storage.keep_local_gb: {values['limit_gb']:g}), "
        f"{values['gb_evicted']:,.3g} GB in DVC's remote only ({values['batches_evicted']} of "
        f"{counted(total, 'batch', 'batches')})"
    )


def _recorded_bytes(root: Path, names: Iterable[str]) -> int:
    """Return the bytes of batches that DVC has recorded; without those that it has no version of yet.

    A .dvc file that a killed DVC left damaged is such a case; the next refresh mends it.
    """
    total = 0
    for path in (batches_folder(root) / f"{name}.dvc" for name in names):
        with suppress(FileNotFoundError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
            total += yaml.safe_load(path.read_text())["outs"][0]["size"]
    return total
