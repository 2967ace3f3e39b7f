"""Reading a LoRA file: safetensors only, validated before it is opened, into canonical slots.

Nothing is unpickled. Tensors keep the file's dtype and are read one module at a time.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.bases import FLUX_1, SURE, Origin, base_of_slots, find_origin
from autolora.lora.decompositions import (
    RANK_CODES,
    UpdateSize,
    build_factors,
    build_matrices,
    check_memory,
    compute_size,
)
from autolora.lora.factors import Factors, Kronecker, Lora, is_zero, max_abs, split
from autolora.lora.formats import EXTERNAL_ALPHA_LAYOUTS
from autolora.lora.header import Header
from autolora.lora.key_accounting import KeyReport, ModuleKeys, account_for_keys
from autolora.lora.mmap_file import DTYPES, load_header, map_tensors
from autolora.lora.scales import (
    LARGE_SCALE,
    MAX_MAGNITUDE,
    SMALL_SCALE,
    ScaleConfig,
    read_config,
)
from autolora.lora.sketch import Sketch, SketchSpec, sketch
from autolora.lora.slots import Slot
from autolora.lora.unsupported import find_base_in_metadata, find_embedder_variant
from autolora.lora.verdict import FULL_RANK, REASONS, refusal
from autolora.params import PoolParams
from autolora.storage.files import MB

logger = logging.getLogger(__name__)

MIN_NORM = 1e-12
"""Frobenius norm over all layers below which an update counts as zero"""
MAX_REFUSED_BYTES = 10**9
"""larger refused files, which are full models mostly, are not hashed to their end"""
READER_VERSION = 8
"""part of the pool's recipe: a higher version reads every file again"""
FLOAT_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The content of an accepted file."""

    lora: Lora
    layout: str
    keys_seen: int
    keys_used: int
    ignored_keys: tuple[str, ...]
    """families of keys that belong to the pipeline but update no slot, sorted"""
    dtype: str
    """of the weights, e.g. bfloat16; several are joined by +"""
    warnings: tuple[str, ...]
    """codes of autolora.lora.verdict.WARNINGS, in the order of that table"""
    metadata: dict[str, str]
    """the header's metadata, unfiltered: untrusted text that may contain private paths and names"""
    shapes: Mapping[str, tuple[int, ...]]
    """of all tensors, by key"""
    full: dict[str, Kronecker] = field(default_factory=dict)
    """slot -> update of a rank above `max_rank`; always empty for `read`"""

    @property
    def updates(self) -> Mapping[str, Factors | Kronecker]:
        """The updates of all slots."""
        return {**self.lora, **self.full}

    @property
    def origin(self) -> Origin:
        """The base model and the tool of the file."""
        return find_origin(self.shapes, self.metadata)


def read(path: Path, slots: Sequence[Slot], bounds: PoolParams) -> Reading:
    """Return the content of a LoRA file for the base model with these canonical slots.

    Raises RefusedFile with a code of autolora.lora.verdict if the file is not a supported LoRA for this base model, or
    has an update of a rank above `max_rank`; OSError if the file cannot be read.
    """
    return _read(path, slots, bounds, is_sketched=False)


def read_and_sketch(
    path: Path, slots: Sequence[Slot], bounds: PoolParams, spec: SketchSpec
) -> tuple[Reading, Sketch]:
    """Return the content of a LoRA file and its sketch, reading every weight once; a LoKr may have any rank.

    Raises the same errors as `read`: sketching finds the values that are not finite or too large.
    """
    reading = read_unchecked(path, slots, bounds)
    sketched = sketch(reading.updates, slots, spec)
    check_effect(sketched)
    return reading, sketched


def check_effect(sketched: Sketch) -> None:
    """Refuse an update that is so small that no image could show it, and whose direction is that of rounding errors."""
    if (norm := sketched.norm) < MIN_NORM:
        raise refusal("zero-effect", f"its norm {norm:.3g} is below {MIN_NORM:g}")


def read_unchecked(path: Path, slots: Sequence[Slot], bounds: PoolParams) -> Reading:
    """Return the content of a LoRA file whose values have not been checked: `sketch` must check all of them.

    Raises the same errors as `read`, except for values that are not finite or too large, and ranks of LoKrs.
    """
    return _read(path, slots, bounds, is_sketched=True)


def _read(path: Path, slots: Sequence[Slot], bounds: PoolParams, *, is_sketched: bool) -> Reading:
    """Return the content of a LoRA file.

    is_sketched: whether a sketch follows, which checks values and takes LoKrs of any rank.
    """
    header = read_header(path, bounds)
    try:
        return _read_content(path, header, slots, bounds, is_sketched=is_sketched)
    except RefusedFile as error:
        raise _with_origin(error, header, slots) from error


def _with_origin(error: RefusedFile, header: Header, slots: Sequence[Slot]) -> RefusedFile:
    """Return a refusal that says what the file was made for; it is wrong-base if the weights show another base.

    Without this, an adapter for another base could be refused for its kind, its rank or its names.
    """
    origin, own = origin_of(header), base_of_slots(slots)
    is_other = origin.certainty == SURE and origin.base != own
    if error.code not in ("wrong-base", "unknown-keys") and not _is_for_another(origin, slots):
        return error
    code = "wrong-base" if is_other else error.code
    expected = "FLUX.1-dev" if own == FLUX_1 else "another one"
    made_for = f"{origin.text}; this base model is {expected}" if is_other else origin.text
    detail = str(error).removeprefix(f"{REASONS[error.code]}: ")
    return refusal(code, f"{made_for} ({detail})")


def _is_for_another(origin: Origin, slots: Sequence[Slot]) -> bool:
    """Return whether a file is surely for another base model than the known one with these slots."""
    own = base_of_slots(slots)
    return bool(own) and origin.certainty == SURE and origin.base != own


def origin_of(header: Header) -> Origin:
    """Return the base model and the tool of a file."""
    return find_origin(_shapes(header), header.metadata)


def _shapes(header: Header) -> dict[str, tuple[int, ...]]:
    return {key: entry.shape for key, entry in header.tensors.items()}


def _read_content(
    path: Path, header: Header, slots: Sequence[Slot], bounds: PoolParams, *, is_sketched: bool
) -> Reading:
    is_zero_tensor = partial(_is_zero_tensor, path, header)
    report = account_for_keys(header.tensors, slots, bounds.min_known_keys, is_zero_tensor)
    _check_base(report, header, slots)
    sizes = _compute_sizes(report.modules, header, bounds.max_rank, is_sketched=is_sketched)
    dtype = _check_dtypes(report.modules, header)
    configs = _read_configs(header.metadata, report.modules)
    if report.unknown:
        logger.warning("ignored %d unknown keys, first %r", len(report.unknown), report.unknown[0][:100])
    lora, full = _load(path, report.modules, sizes, header, configs, bounds.max_rank, is_sketched=is_sketched)
    if not lora and not full:
        raise refusal("zero-effect", f"{len(report.modules)} modules")
    return Reading(
        lora=lora,
        layout=report.layout,
        keys_seen=report.total,
        keys_used=report.used,
        ignored_keys=report.ignored_families,
        dtype=dtype,
        warnings=_find_warnings(report, dtype, configs, lora, full),
        metadata=header.metadata,
        shapes=_shapes(header),
        full=full,
    )


def _read_configs(metadata: Mapping[str, str], modules: Sequence[ModuleKeys]) -> dict[str, ScaleConfig]:
    """Return kind of update -> the adapter's config as modules of this kind use it."""
    names: dict[str, list[str]] = {}
    for module in modules:
        names.setdefault(module.kind, []).append(module.name)
    return {kind: read_config(metadata, of_kind, kind) for kind, of_kind in names.items()}


def read_header(path: Path, bounds: PoolParams) -> Header:
    """Return the validated header of a file; at most `max_header_mb` of the bounds are read.

    Raises RefusedFile: pickle, not-safetensors (also if it is not a regular file), truncated, header-too-large,
    header-inconsistent; OSError.
    """
    return load_header(path, int(bounds.max_header_mb * MB))


def _is_zero_tensor(path: Path, header: Header, key: str) -> bool:
    """Return whether a tensor contains only zeros, as floating-point numbers."""
    return header.tensors[key].dtype in FLOAT_DTYPES and not bool(map_tensors(path, header)(key).any())


def _check_base(report: KeyReport, header: Header, slots: Sequence[Slot]) -> None:
    """Refuse other base models whose modules have the names of this one's: by shapes, blocks and header metadata."""
    for key in report.ignored:
        shape = header.tensors[key].shape
        if variant := find_embedder_variant(key, shape):
            code, explanation = variant
            raise refusal(code, f"{key[:100]} has shape {list(shape)}: {explanation}")
    origin = origin_of(header)
    if _is_for_another(origin, slots) and base_of_slots(slots) not in dict(origin.stated):
        raise refusal("wrong-base", f"{len(report.modules)} modules have names and shapes of both")
    if stated := find_base_in_metadata(header.metadata):
        base, field = stated
        if not origin.disproves(base):
            raise refusal("wrong-base", f"{field} means {base}")


def _compute_sizes(
    modules: Sequence[ModuleKeys], header: Header, max_rank: int, *, is_sketched: bool
) -> list[UpdateSize]:
    """Return the size of each module's update, from the header.

    If most sizes do not match their slots, the file is refused as a LoRA for another base model, else as damaged.
    """
    sizes, mismatches = [], []
    for module in modules:
        shapes = {role: header.tensors[key].shape for role, key in module.factors.items()}
        size = compute_size(module.kind, module.path, shapes)
        may_be_full = is_sketched and module.kind == "lokr"
        d_in, d_out = module.slots[0].d_in, sum(slot.d_out for slot in module.slots)
        if (size.d_in, size.d_out) != (d_in, d_out):
            mismatches.append(
                f"{module.path[:100]} maps {size.d_in} to {size.d_out}, expected {d_in} to {d_out}"
            )
        elif size.rank < 1 or (_is_full(module, size, max_rank) and not may_be_full):
            raise _rank_out_of_bounds(module, module.path, size.rank, max_rank)
        sizes.append(size)
    if mismatches:
        code = "wrong-base" if 2 * len(mismatches) > len(modules) else "shape-mismatch"
        raise refusal(code, f"{len(mismatches)} of {len(modules)} modules, first {mismatches[0]}")
    check_memory(
        [
            (module.kind, size.products if _is_full(module, size, max_rank) else size.numel)
            for module, size in zip(modules, sizes, strict=True)
        ]
    )
    return sizes


def _is_full(module: ModuleKeys, size: UpdateSize, max_rank: int) -> bool:
    """Return whether an update has a higher rank than its parts may have together."""
    return size.rank > max_rank * len(module.slots)


def _rank_out_of_bounds(module: ModuleKeys, name: str, rank: int, max_rank: int) -> RefusedFile:
    return refusal(RANK_CODES[module.kind], f"{name[:100]} has rank {rank}, expected 1 to {max_rank}")


def _check_dtypes(modules: Sequence[ModuleKeys], header: Header) -> str:
    """Return the dtypes of all factors, the most common first; refuse dtypes that are not floating-point."""
    counts: Counter[str] = Counter()
    for module in modules:
        for key in module.factors.values():
            dtype = header.tensors[key].dtype
            if dtype not in FLOAT_DTYPES:
                raise refusal("bad-dtype", f"{key[:100]} is stored as {dtype}")
            counts[FLOAT_DTYPES[dtype]] += 1
    return "+".join(sorted(counts, key=lambda dtype: (-counts[dtype], dtype)))


def _find_warnings(
    report: KeyReport,
    dtype: str,
    configs: Mapping[str, ScaleConfig],
    lora: Lora,
    full: Mapping[str, Kronecker],
) -> tuple[str, ...]:
    """Return the warning codes that apply to an accepted file."""
    scales = [abs(factors.scale) for factors in lora.values()]
    scales += [abs(update.scale) for update in full.values()]
    are_assumed = any(
        (module.kind != "lora" or module.layout in EXTERNAL_ALPHA_LAYOUTS)
        and "alpha" not in module.keys
        and not configs[module.kind].states(module.name)
        for module in report.modules
    )
    applies = {
        "ignored-keys": bool(report.ignored),
        "some-unknown-keys": bool(report.unknown),
        "scale-assumed": are_assumed,
        "scale-large": max(scales) > LARGE_SCALE,
        "scale-small": min(scales) < SMALL_SCALE,
        FULL_RANK: bool(full),
        "initialized": any(config.is_initialized for config in configs.values()),
        "fp8": "float8" in dtype,
    }
    return tuple(code for code, holds in applies.items() if holds)


def _load(
    path: Path,
    modules: Sequence[ModuleKeys],
    sizes: Sequence[UpdateSize],
    header: Header,
    configs: Mapping[str, ScaleConfig],
    max_rank: int,
    *,
    is_sketched: bool,
) -> tuple[Lora, dict[str, Kronecker]]:
    """Return the factors of all slots from the modules' tensors, and those of LoKrs above `max_rank` in Kronecker form.

    Slots with a zero update are absent. A LoRA's factors are views of the mapped file. All scales are read before any
    weight is checked, so that a file has the same reason whether a sketch follows or not. If one does, the values of a
    module are only checked if slots or ranks are left out, since nothing after this function sees these values.
    """
    lora: Lora = {}
    full: dict[str, Kronecker] = {}
    get = map_tensors(path, header)
    scales = [
        _read_scale(module, size, get, header, configs[module.kind])
        for module, size in zip(modules, sizes, strict=True)
    ]
    for module, size, scale in zip(modules, sizes, scales, strict=True):
        tensors = {role: get(key) for role, key in module.factors.items()}
        if _is_full(module, size, max_rank):
            full |= _read_kronecker(module, tensors, scale)
            continue
        parts = split(*build_factors(module.kind, tensors), scale, [slot.d_out for slot in module.slots])
        kept = {slot.name: part for slot, part in zip(module.slots, parts, strict=True) if not is_zero(part)}
        if module.kind != "lora":  # sketches see the products only, whose limit is the same
            for tensor in (*tensors.values(), parts[0].down, *(part.up for part in parts)):
                check_magnitude(tensor, module.path)
        elif not is_sketched or len(kept) < len(parts) or min(part.rank for part in parts) < size.rank:
            for role, tensor in tensors.items():
                check_magnitude(tensor, module.keys[role])
        too_large = next((name for name, part in kept.items() if part.rank > max_rank), None)
        if too_large is None:
            lora |= kept
        elif is_sketched and module.kind == "lokr":
            full |= _read_kronecker(module, tensors, scale)
        else:
            raise _rank_out_of_bounds(module, too_large, kept[too_large].rank, max_rank)
    return lora, full


def _read_kronecker(module: ModuleKeys, tensors: Mapping[str, Tensor], scale: float) -> dict[str, Kronecker]:
    """Return the rows of a LoKr that update each slot, in row order; slots with a zero update are absent."""
    for role, tensor in tensors.items():
        check_magnitude(tensor, module.keys[role])
    parts, row, (w1, w2) = {}, 0, build_matrices(tensors)
    for slot in module.slots:
        parts[slot.name] = Kronecker(w1, w2, scale, row, slot.d_out)
        row += slot.d_out
    return {name: part for name, part in parts.items() if not part.is_zero}


def _read_scale(
    module: ModuleKeys, size: UpdateSize, get: Callable[[str], Tensor], header: Header, config: ScaleConfig
) -> float:
    """Return the factor of a module's product: from its alpha tensor, else from the config, else 1.

    A LoKr of two full matrices does not use its alpha: ai-toolkit states 9999999999, which is infinity in float16.
    Alpha is divided by the stored rank even if `split` reduces the rank of a part, as in other loaders.
    """
    key = module.keys.get("alpha")
    if key is None:
        return config.scale(module.name, size.divisor)
    return 1.0 if size.divisor is None else read_alpha(get, header, key) / size.divisor


def read_alpha(get: Callable[[str], Tensor], header: Header, key: str) -> float:
    """Return an alpha; its tensor must contain one number, of a floating-point or integer dtype."""
    entry = header.tensors[key]
    if math.prod(entry.shape) != 1 or entry.dtype in ("BOOL", "C64") or entry.dtype not in DTYPES:
        raise refusal(
            "bad-alpha", f"{key[:100]} is {entry.dtype} of shape {list(entry.shape)}, expected one number"
        )
    number = get(key).double()
    check_magnitude(number, key)
    return float(number)


def check_magnitude(tensor: Tensor, key: str) -> None:
    """Refuse values that are not finite or above MAX_MAGNITUDE."""
    if not max_abs(tensor) <= MAX_MAGNITUDE:
        raise refusal(
            "nan-or-inf", f"{key[:100]} contains a value that is not finite or above {MAX_MAGNITUDE:g}"
        )
