"""Reading a LoRA file: safetensors only, checked before it is opened, into canonical slots.

Nothing is ever unpickled. Tensors stay in the file's dtype and are read one module at a time.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.decompositions import RANK_CODES, Measure, check_size, measure, multiply
from autolora.lora.factors import Factors, Lora, is_zero, largest, split
from autolora.lora.formats import SCALE_ELSEWHERE
from autolora.lora.header import Header
from autolora.lora.key_accounting import Claim, Ledger, account
from autolora.lora.mmap_file import load_header, map_tensors
from autolora.lora.scales import LARGE, LARGEST, METADATA_KEY, SMALL, Config, read_config
from autolora.lora.unsupported import WIDTHS, find_twin, find_variant
from autolora.lora.verdict import refusal
from autolora.params import PoolParams
from autolora.slots import Slot

logger = logging.getLogger(__name__)

READER_VERSION = 3
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
    warnings: tuple[str, ...]
    """codes of autolora.lora.verdict.WARNINGS, in the order of that table"""
    metadata: dict[str, str]
    """the header's, as it stands: it can hold a stranger's paths and names"""


def read(path: Path, slots: Sequence[Slot], bounds: PoolParams) -> Reading:
    """Read a LoRA file for the base model with these canonical slots.

    Raises RefusedFile with a code of autolora.lora.verdict for everything that is no such file;
    OSError where the file cannot be read at all.
    """
    header = read_header(path, bounds)
    ledger = account(header.tensors, slots, bounds.min_known_keys)
    _check_base(ledger, header)
    measures = _measure(ledger.claims, header, bounds.max_rank)
    dtype = _check_dtypes(ledger.claims, header)
    config = read_config(header.metadata)
    if ledger.unknown:
        logger.warning("passed over %d unknown keys, first %r", len(ledger.unknown), ledger.unknown[0][:100])
    lora = _load(path, ledger.claims, measures, header, config, bounds.max_rank)
    if not lora:
        raise refusal("zero-effect", f"{len(ledger.claims)} modules")
    return Reading(
        lora=lora,
        layout=ledger.layout,
        keys_seen=ledger.seen,
        keys_used=ledger.used,
        set_aside=ledger.set_aside,
        dtype=dtype,
        warnings=_find_warnings(ledger, header, dtype, lora),
        metadata=header.metadata,
    )


def read_header(path: Path, bounds: PoolParams) -> Header:
    """Read and check the header alone: at most pool.max_header_mb (of 10^6 bytes) of the file.

    Raises RefusedFile: pickle, not-safetensors (also where it is no regular file), truncated, header-too-large,
    header-inconsistent; OSError.
    """
    return load_header(path, int(bounds.max_header_mb * MB))


def _check_base(ledger: Ledger, header: Header) -> None:
    """Refuse what names alone do not give away: variants by their image embedder, twins by the header's word."""
    for key in ledger.families:
        if variant := find_variant(key, header.tensors[key].shape):
            code, what = variant
            raise refusal(code, f"{key[:100]} has shape {list(header.tensors[key].shape)}: it {what}")
    if twin := find_twin(header.metadata):
        base, place = twin
        raise refusal("wrong-base", f"its header says {place}, which is {base}")


def _measure(claims: Sequence[Claim], header: Header, max_rank: int) -> list[Measure]:
    """Return the sizes of all claims' updates, from the header.

    Where most do not fit the slots it is another base model's LoRA; where a few do not, it was damaged.
    """
    measures, misfits, widths = [], [], Counter[int]()
    for claim in claims:
        shapes = {role: header.tensors[key].shape for role, key in claim.factors.items()}
        found = measure(claim.kind, claim.path, shapes)
        d_in, d_out = claim.slots[0].d_in, sum(slot.d_out for slot in claim.slots)
        if (found.d_in, found.d_out) != (d_in, d_out):
            misfits.append(
                f"{claim.path[:100]} maps {found.d_in} to {found.d_out}, the base {d_in} to {d_out}"
            )
            widths[found.d_in] += 1
        elif not 1 <= found.rank <= max_rank * len(claim.slots):
            raise _out_of_bounds(claim, claim.path, found.rank, max_rank)
        measures.append(found)
    if misfits:
        code = "wrong-base" if 2 * len(misfits) > len(claims) else "shape-mismatch"
        width = widths.most_common(1)[0][0]
        hint = f" (as wide as {WIDTHS[width]})" if width in WIDTHS else ""
        raise refusal(code, f"{len(misfits)} of {len(claims)} modules, first {misfits[0]}{hint}")
    check_size([(claim.kind, size) for claim, size in zip(claims, measures, strict=True)])
    return measures


def _out_of_bounds(claim: Claim, name: str, rank: int, max_rank: int) -> RefusedFile:
    return refusal(RANK_CODES[claim.kind], f"{name[:100]} has rank {rank}, allowed are 1 to {max_rank}")


def _check_dtypes(claims: Sequence[Claim], header: Header) -> str:
    """Return the dtypes of all downs and ups, the commonest first; refuse what is no floating point."""
    found: Counter[str] = Counter()
    for claim in claims:
        for key in claim.factors.values():
            dtype = header.tensors[key].dtype
            if dtype not in FLOATS:
                raise refusal("bad-dtype", f"{key[:100]} is stored as {dtype}")
            found[FLOATS[dtype]] += 1
    return "+".join(sorted(found, key=lambda dtype: (-found[dtype], dtype)))


def _find_warnings(ledger: Ledger, header: Header, dtype: str, lora: Lora) -> tuple[str, ...]:
    """Return the codes of what is odd about a file that is accepted all the same."""
    sizes = [abs(factors.scale) for factors in lora.values()]
    elsewhere = [
        claim for claim in ledger.claims if claim.layout in SCALE_ELSEWHERE and "alpha" not in claim.keys
    ]
    found = {
        "set-aside": bool(ledger.families),
        "passed-over": bool(ledger.unknown),
        "scale-assumed": bool(elsewhere) and METADATA_KEY not in header.metadata,
        "scale-large": max(sizes) > LARGE,
        "scale-small": min(sizes) < SMALL,
        "fp8": "float8" in dtype,
    }
    return tuple(code for code, holds in found.items() if holds)


def _load(
    path: Path,
    claims: Sequence[Claim],
    measures: Sequence[Measure],
    header: Header,
    config: Config,
    max_rank: int,
) -> Lora:
    """Read all claims' tensors and return their slots' factors; slots with a zero update are left out.

    A LoRA's factors are views of the mapped file.
    """
    lora: Lora = {}
    get = map_tensors(path, header)
    for claim, size in zip(claims, measures, strict=True):
        tensors = {role: get(key) for role, key in claim.factors.items()}
        peaks = {role: _peak(tensor, claim.keys[role]) for role, tensor in tensors.items()}
        alpha = claim.keys.get("alpha")
        scale = _scale(claim, size, None if alpha is None else _alpha(get, header, alpha), config)
        parts = split(*multiply(claim.kind, tensors), scale, [slot.d_out for slot in claim.slots])
        sums = [tensors[role].numel() * peak**2 for role, peak in peaks.items()]
        lora |= _present(claim, parts, math.prod(sums) if claim.kind == "lora" else math.inf, max_rank)
    return lora


def _scale(claim: Claim, size: Measure, alpha: float | None, config: Config) -> float:
    """Return what a module's product is multiplied by: alpha by its tensor, else by the config, else 1.

    The stored rank divides, also where `split` cuts it afterwards: so do all that load such files.
    """
    if size.divisor is None:
        return 1.0
    return config.scale(claim.name, size.divisor) if alpha is None else alpha / size.divisor


def _present(claim: Claim, parts: Sequence[Factors], at_most: float, max_rank: int) -> Lora:
    """Return the parts that are no zero update, by slot; at_most: a bound on each one's ‖up‖²·‖down‖²."""
    pairs = zip(claim.slots, parts, strict=True)
    found = {slot.name: part for slot, part in pairs if not is_zero(part, at_most)}
    for name, part in found.items():
        if part.rank > max_rank:
            raise _out_of_bounds(claim, name, part.rank, max_rank)
    return found


def _alpha(get: Callable[[str], Tensor], header: Header, key: str) -> float:
    """Read an alpha: one number; integers do, as do () and (1,)."""
    stored = header.tensors[key]
    if math.prod(stored.shape) != 1 or stored.dtype in ("BOOL", "C64"):
        raise refusal(
            "bad-alpha", f"{key[:100]} is {stored.dtype} of shape {list(stored.shape)}, not one number"
        )
    number = get(key).double()
    _peak(number, key)
    return float(number)


def _peak(tensor: Tensor, key: str) -> float:
    """Return a tensor's largest magnitude; refuse one that is not finite or not far from overflow."""
    peak = largest(tensor)
    if not peak <= LARGEST:
        raise refusal("nan-or-inf", f"{key[:100]} holds a value that is not finite or above {LARGEST:g}")
    return peak
