"""Gradient shards: the gradient sketches of images, by key, in files that are read sequentially.

data/concepts/gradients/<name>.safetensors    values (N, S, m, p) float16, to be multiplied by scale (N, S) float32;
                                              metadata `keys`: JSON list of the N keys, sorted
data/concepts/open/<key>.safetensors          the same of one image, with N = 1, until the run ends

A shard is written once, and replaced only to leave out gradients that are not wanted any more.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autolora.errors import MissingArtifact, rerun
from autolora.storage.hashes import hash_value
from autolora.storage.weights_file import save_tensors

IMAGES_PER_SHARD = 256
"""256 MB at the size of FLUX.1-dev"""


def folder(root: Path) -> Path:
    """Return the folder of the concepts."""
    return root / "data" / "concepts"


def save_gradient(root: Path, key: str, gradient: Tensor) -> None:
    """Write the gradient sketch (S, m, p) of one image, atomically."""
    scale = gradient.abs().amax(dim=(1, 2))
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    values = (gradient / unit[:, None, None]).to(torch.float16)
    tensors = {"values": values[None].cpu(), "scale": scale[None].float().cpu()}
    save_tensors(_open_folder(root) / f"{key}.safetensors", tensors, {"keys": json.dumps([key])})


def stored_keys(root: Path) -> set[str]:
    """Return the keys of all stored gradients. Raises MissingArtifact if a shard is damaged."""
    return {key for path in _files(root) for key in _read_keys(path)}


def read_gradients(root: Path, wanted: Collection[str]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield the keys (n) and gradients (n, S, m, p), float32, of each shard, as far as they are wanted.

    Holds one shard in memory at a time. Raises MissingArtifact if a wanted gradient is missing or a shard is damaged.
    """
    missing = set(wanted)
    for path in _files(root):
        keys = _read_keys(path)
        rows = [row for row, key in enumerate(keys) if key in missing]
        if rows:
            missing -= {keys[row] for row in rows}
            values, scale = _read_rows(path, rows)
            yield tuple(keys[row] for row in rows), values.float() * scale[:, :, None, None]
    if missing:
        raise MissingArtifact(
            f"{folder(root)} contains no gradient of {len(missing)} images: {rerun('concepts')}"
        )


def close_shards(root: Path, wanted: Collection[str]) -> None:
    """Leave out the gradients that are not wanted, and move the open ones into shards. Safe to repeat after a kill."""
    packed: set[str] = set()
    keys_of = {path: _read_keys(path) for path in _shards(root)}
    for path, keys in sorted(
        keys_of.items(), key=lambda item: len(item[1])
    ):  # a killed run's reduced shard first
        rows = [row for row, key in enumerate(keys) if key in wanted and key not in packed]
        packed |= {keys[row] for row in rows}
        if len(rows) < len(keys):
            if rows:
                _write_shard(root, [keys[row] for row in rows], *_read_rows(path, rows))
            path.unlink()
    new = [path for path in _open_files(root) if path.stem in wanted and path.stem not in packed]
    for start in range(0, len(new), IMAGES_PER_SHARD):
        group = new[start : start + IMAGES_PER_SHARD]
        values, scales = zip(*(_read_rows(path, [0]) for path in group), strict=True)
        _write_shard(root, [path.stem for path in group], torch.cat(values), torch.cat(scales))
    shutil.rmtree(_open_folder(root), ignore_errors=True)
    for leftover in _shards_folder(root).glob(".*"):  # of a killed run
        leftover.unlink()


def _write_shard(root: Path, keys: Sequence[str], values: Tensor, scale: Tensor) -> None:
    path = _shards_folder(root) / f"{hash_value(list(keys))[:16]}.safetensors"
    save_tensors(
        path, {"values": values.contiguous(), "scale": scale.contiguous()}, {"keys": json.dumps(keys)}
    )


def _read_rows(path: Path, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return values (n, S, m, p) float16 and scale (n, S) of some rows of a shard."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("values")[rows], file.get_tensor("scale")[rows]
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _read_keys(path: Path) -> tuple[str, ...]:
    try:
        with safe_open(path, framework="pt") as file:
            return tuple(json.loads(file.metadata()["keys"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> MissingArtifact:
    return MissingArtifact(f"{path} is damaged ({error}): delete it and {rerun('concepts')}")


def _files(root: Path) -> list[Path]:
    return [*_shards(root), *_open_files(root)]


def _shards(root: Path) -> list[Path]:
    return sorted(_shards_folder(root).glob("*.safetensors"))


def _open_files(root: Path) -> list[Path]:
    return sorted(_open_folder(root).glob("*.safetensors"))


def _shards_folder(root: Path) -> Path:
    return folder(root) / "gradients"


def _open_folder(root: Path) -> Path:
    return folder(root) / "open"
