"""The mean gate per adapter, block and step of one image, as its provenance holds it.

The mean of a gate, 0 to 1, is the share of an adapter's update that passes it. A number is stored as one byte, and the
bytes are compressed: an image of FLUX.1-dev with 30 steps and 5 adapters, 57 blocks, needs at most 14 kB.
Importing this does not import torch.
"""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from autolora.storage.arrays import Float32Array
from autolora.storage.validation import strings

GLOBAL = "global"
"""stands for the global LoRA in place of a sha256"""
MAX_CELLS = 50_000
"""numbers of one image; of more, adjacent steps are averaged"""
ABSENT, MAX_LEVEL = 0, 254
"""a cell is 0 if an adapter has no gate in a block, else 1 plus the mean gate in units of 1/254"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GateMeans:
    """The mean gates of one image."""

    adapters: tuple[str, ...]
    """(k,): sha256, or GLOBAL"""
    double_blocks: int
    """number of double blocks, which precede the single ones"""
    steps: int
    """denoising steps of the image"""
    values: Float32Array
    """(k, blocks, columns), 0 to 1, nan if an adapter has no gate in a block; a column is a step, or several"""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Return the names of the blocks: `double 0` and so on, then `single 0` and so on."""
        singles = self.values.shape[1] - self.double_blocks
        return (
            *(f"double {number}" for number in range(self.double_blocks)),
            *(f"single {number}" for number in range(singles)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values, rounded to 1/254."""
        levels = np.nan_to_num(1 + np.rint(self.values * MAX_LEVEL), nan=ABSENT).astype(np.uint8)
        return {
            "adapters": list(self.adapters),
            "double_blocks": self.double_blocks,
            "steps": self.steps,
            "shape": list(levels.shape),
            "levels": base64.b64encode(zlib.compress(levels.tobytes(), 9)).decode(),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Return the numbers of JSON values. Raises KeyError, TypeError or ValueError if these are not valid."""
        adapters, shape = strings(row["adapters"]), [_natural(size) for size in row["shape"]]
        double_blocks, steps = _natural(row["double_blocks"]), _natural(row["steps"])
        if (
            len(shape) != 3
            or shape[0] != len(adapters)
            or double_blocks > shape[1]
            or not 0 < shape[2] <= steps
        ):
            raise ValueError(f"the gates have the shape {str(shape)[:50]}, which does not fit the image")
        levels = _decompress(row["levels"], int(np.prod(shape))).reshape(shape)
        values = np.where(levels == ABSENT, np.nan, (levels.astype(np.float32) - 1) / MAX_LEVEL)
        return cls(
            adapters=adapters, double_blocks=double_blocks, steps=steps, values=values.astype(np.float32)
        )

    def steps_of(self, column: int) -> tuple[int, int]:
        """Return the first and the last step of a column, counted from 1."""
        columns = np.array_split(np.arange(1, self.steps + 1), self.values.shape[2])
        return int(columns[column][0]), int(columns[column][-1])


def join_steps(values: Float32Array) -> Float32Array:
    """Return (k, blocks, columns) of values (k, blocks, steps): adjacent steps are averaged beyond MAX_CELLS."""
    adapters, blocks, steps = values.shape
    columns = min(steps, max(1, MAX_CELLS // (adapters * blocks)))
    groups = np.array_split(values, columns, axis=2)
    joined: Float32Array = np.stack([group.mean(axis=2) for group in groups], axis=2)
    return joined


def describe(gates: GateMeans, names: Mapping[str, str]) -> list[str]:
    """Return a line per adapter: how much of it passed on average, in which blocks, and in which steps.

    names: sha256 -> name of an adapter.
    """
    return [
        f"{names.get(adapter, adapter[:8])}: {_describe(gates, gates.values[row])}"
        for row, adapter in enumerate(gates.adapters)
    ]


def _describe(gates: GateMeans, values: Float32Array) -> str:
    """Return where and when one adapter passed; values: (blocks, columns)."""
    by_block = _means(values)
    if np.isnan(by_block).all():
        return "changes no block"
    lowest, highest = (f"{limit(values):.2f}" for limit in (np.nanmin, np.nanmax))
    if lowest == highest:
        return f"{lowest} in all blocks and steps"
    stacks = {"double": by_block[: gates.double_blocks], "single": by_block[gates.double_blocks :]}
    parts = [f"{_mean(by_block):.2f} on average"]
    parts += [
        f"{name} blocks {_mean(means):.2f}" for name, means in stacks.items() if not np.isnan(means).all()
    ]
    parts += [
        f"steps {first}-{last} {_mean(values[:, columns]):.2f}"
        for columns in np.array_split(np.arange(values.shape[1]), min(3, values.shape[1]))
        for first, last in [(gates.steps_of(columns[0])[0], gates.steps_of(columns[-1])[1])]
    ]
    most, least = int(np.nanargmax(by_block)), int(np.nanargmin(by_block))
    names = gates.blocks
    parts.append(
        f"most in {names[most]} ({by_block[most]:.2f}), least in {names[least]} ({by_block[least]:.2f})"
    )
    return "; ".join(parts)


def _mean(values: Float32Array) -> float:
    """Return the mean of the values that are not nan."""
    return float(values[~np.isnan(values)].mean())


def _means(values: Float32Array) -> Float32Array:
    """Return the mean of each row (blocks,); nan for one without a gate, which has none in any step."""
    means: Float32Array = values.mean(axis=1)
    return means


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_CELLS:
        raise ValueError(f"{str(value)[:50]!r} is not a number from 0 to {MAX_CELLS}")
    return value


def _decompress(text: Any, count: int) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """Return `count` levels of a compressed text; a longer content is not expanded."""
    if type(text) is not str or not 0 < count <= MAX_CELLS:
        raise ValueError(f"the gates are not a text of at most {MAX_CELLS} levels")
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), count + 1)
    except zlib.error as error:
        raise ValueError(f"the gates cannot be decompressed ({error})") from error
    if len(content) != count:
        raise ValueError(f"the gates have {len(content)} levels, expected {count}")
    return np.frombuffer(content, np.uint8)
