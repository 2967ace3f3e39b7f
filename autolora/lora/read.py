"""Reading a LoRA file: safetensors only, checked before it is opened, into canonical slots.

Nothing is ever unpickled. Tensors stay in the file's dtype and are read one module at a time.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autolora.lora.factors import Factors, Lora, is_zero, split
from autolora.lora.header import LENGTH_BYTES, Header, Stored, header_length, parse_header
from autolora.lora.ledger import Claim, account
from autolora.lora.scales import LARGEST, Config, read_config
from autolora.lora.verdict import refusal
from autolora.params import PoolParams
from autolora.slots import Slot

logger = logging.getLogger(__name__)

READER_VERSION = 1
"""Part of the pool's key: a higher one reads every file again."""
FLOATS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
MB = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A file that was accepted."""

    lora: Lora
    layout: str
    keys_seen: int
    keys_used: int
    set_aside: tuple[str, ...]
    """families of keys that belong to the pipeline but to no slot, sorted"""
    dtype: str
    """of the weights, e.g. bfloat16; several joined by +"""
    metadata: dict[str, str]
    """the header's, as it stands: it can hold a stranger's paths and names"""


def read(path: Path, slots: Sequence[Slot], bounds: PoolParams) -> Reading:
    """Read a LoRA file for the base model with these canonical slots.

    Raises RefusedFile with a code of autolora.lora.verdict for everything that is no such file;
    OSError where the file cannot be read at all.
    """
    header = read_header(path, bounds)
    ledger = account(header.tensors, slots, bounds.min_known_keys)
    _check_shapes(ledger.claims, header, bounds.max_rank)
    dtypes = _check_dtypes(ledger.claims, header)
    config = read_config(header.metadata)
    if ledger.unknown:
        logger.warning("passed over %d unknown keys, first %r", len(ledger.unknown), ledger.unknown[0][:100])
    try:
        lora = _load(path, ledger.claims, header, config, bounds.max_rank)
    except SafetensorError as error:
        raise refusal("header-inconsistent", f"safetensors says {error}") from error
    if not lora:
        raise refusal("zero-effect", f"{len(ledger.claims)} modules")
    return Reading(
        lora=lora,
        layout=ledger.layout,
        keys_seen=ledger.seen,
        keys_used=ledger.used,
        set_aside=ledger.set_aside,
        dtype=dtypes,
        metadata=header.metadata,
    )


def read_header(path: Path, bounds: PoolParams) -> Header:
    """Read and check the header alone: at most pool.max_header_mb (of 10^6 bytes) of the file.

    Raises RefusedFile: pickle, not-safetensors, truncated, header-too-large, header-inconsistent.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = header_length(stream.read(16), size, int(bounds.max_header_mb * MB))
        stream.seek(LENGTH_BYTES)
        return parse_header(stream.read(length), size - LENGTH_BYTES - length)


def _check_shapes(claims: Sequence[Claim], header: Header, max_rank: int) -> None:
    """Compare the header's shapes with the slots'; where most differ it is another base model's LoRA."""
    misfits = []
    for claim in claims:
        down, up = (header.tensors[claim.keys[role]].shape for role in ("down", "up"))
        d_in, d_out = claim.slots[0].d_in, sum(slot.d_out for slot in claim.slots)
        if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            raise refusal("shape-mismatch", f"{claim.path}: down {down} and up {up} cannot be multiplied")
        if (down[1], up[0]) != (d_in, d_out):
            misfits.append(f"{claim.path} maps {down[1]} to {up[0]}, the base model {d_in} to {d_out}")
        elif not 1 <= down[0] <= max_rank * len(claim.slots):
            raise refusal(
                "rank-out-of-bounds", f"{claim.path} has rank {down[0]}, allowed are 1 to {max_rank}"
            )
    if misfits:
        code = "wrong-base" if 2 * len(misfits) > len(claims) else "shape-mismatch"
        raise refusal(code, f"{len(misfits)} of {len(claims)} modules, first {misfits[0]}")


def _check_dtypes(claims: Sequence[Claim], header: Header) -> str:
    """Return the dtypes of all downs and ups, the commonest first; refuse what is no floating point."""
    found: Counter[str] = Counter()
    for claim in claims:
        for role in ("down", "up"):
            dtype = header.tensors[claim.keys[role]].dtype
            if dtype not in FLOATS:
                raise refusal("bad-dtype", f"{claim.keys[role]} is stored as {dtype}")
            found[FLOATS[dtype]] += 1
    return "+".join(sorted(found, key=lambda dtype: (-found[dtype], dtype)))


def _load(path: Path, claims: Sequence[Claim], header: Header, config: Config, max_rank: int) -> Lora:
    """Read all claims' tensors and return their slots' factors; slots with a zero update are left out."""
    lora: Lora = {}
    with safe_open(path, framework="pt") as file:
        for claim in claims:
            down, up = (
                _finite(file.get_tensor(claim.keys[role]), claim.keys[role]) for role in ("down", "up")
            )
            alpha = claim.keys.get("alpha")
            # the stored rank divides, also where `split` cuts it afterwards: so do all that load such files
            if alpha is None:
                scale = config.scale(claim.slots[0].name, down.shape[0])
            else:
                _check_alpha(alpha, header.tensors[alpha])
                scale = float(_finite(file.get_tensor(alpha), alpha)) / down.shape[0]
            parts = split(down, up, scale, [slot.d_out for slot in claim.slots])
            lora |= _present(claim, parts, max_rank)
    return lora


def _present(claim: Claim, parts: Sequence[Factors], max_rank: int) -> Lora:
    found = {slot.name: part for slot, part in zip(claim.slots, parts, strict=True) if not is_zero(part)}
    for name, part in found.items():
        if part.rank > max_rank:
            raise refusal("rank-out-of-bounds", f"{name} has rank {part.rank}, allowed are 1 to {max_rank}")
    return found


def _check_alpha(key: str, stored: Stored) -> None:
    """Alpha is one number; integers do, as do () and (1,)."""
    if math.prod(stored.shape) != 1 or stored.dtype in ("BOOL", "C64"):
        raise refusal("bad-alpha", f"{key} is {stored.dtype} of shape {list(stored.shape)}, not one number")


def _finite(tensor: Tensor, key: str) -> Tensor:
    """Return the tensor when all of it is finite and far from overflow."""
    if not bool(tensor.to(torch.float32).abs().max() <= LARGEST):
        raise refusal("nan-or-inf", f"{key} holds a value that is not finite or above {LARGEST:g}")
    return tensor
