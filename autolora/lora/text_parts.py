"""The part of a LoRA file that adapts the pipeline's text encoders: CLIP (`text_encoder`) and T5 (`text_encoder_2`).

The pool reads, sketches and searches the transformer's part only; this part is read when an image is generated. Names
are those of diffusers, of sd-scripts (`lora_te1_`), and of ComfyUI (`text_encoders.clip_l.transformer.`).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor

from autolora.lora.decompositions import build_factors, compute_size
from autolora.lora.factors import Factors, Lora
from autolora.lora.formats import parse_key
from autolora.lora.header import Header
from autolora.lora.mmap_file import map_tensors
from autolora.lora.read import FLOAT_DTYPES, check_magnitude, read_alpha, read_header
from autolora.lora.scales import MAX_MAGNITUDE, METADATA_KEY
from autolora.lora.verdict import refusal
from autolora.params import PoolParams

PREFIXES = {
    "text_encoder": re.compile(
        r"(?:lora_te1?_|text_encoder\.|(?:text_encoders\.)?clip_l\.(?:transformer\.)?)(?:text_model[._])?"
    ),
    "text_encoder_2": re.compile(
        r"(?:lora_te[23]_|text_encoder_2\.|(?:text_encoders\.)?t5(?:xxl)?\.(?:transformer\.)?)"
    ),
}
"""component of the pipeline -> what a key of its part begins with"""
UNREAD_FIELDS = ("alpha_pattern", "rank_pattern", "use_rslora", "use_dora")
"""of a stored LoraConfig: they change scales in ways that are not read here"""

TextParts = Mapping[str, Lora]
"""component of the pipeline -> name of its linear -> update; components without an update are absent"""


def read_text_parts(path: Path, linears: Mapping[str, Collection[str]], bounds: PoolParams) -> TextParts:
    """Return a file's updates of the text encoders; empty if it has none.

    linears: component of the pipeline -> names of its linears. Raises RefusedFile if there are updates that are not
    low-rank products of finite numbers for these linears, and as `read_header`; OSError if the file cannot be read.
    """
    header = read_header(path, bounds)
    names = {encoder: {_flat(name): name for name in linears[encoder]} for encoder in linears}
    modules: dict[tuple[str, str], dict[str, str]] = {}
    for key in sorted(header.tensors):
        encoder = next((name for name, prefix in PREFIXES.items() if prefix.match(key)), None)
        if encoder is not None:
            name, role = _find_linear(key, encoder, names.get(encoder, {}))
            modules.setdefault((encoder, name), {})[role] = key
    get, parts = map_tensors(path, header), dict[str, Lora]()
    for (encoder, name), keys in modules.items():
        parts.setdefault(encoder, {})[name] = _read_factors(encoder, keys, header, get, bounds.max_rank)
    return parts


def _flat(name: str) -> str:
    """Return a module's name as sd-scripts writes it, without the part that only some versions of CLIP have."""
    return name.removeprefix("text_model.").replace(".", "_")


def _find_linear(key: str, encoder: str, names: Mapping[str, str]) -> tuple[str, str]:
    """Return the linear that a key's tensor updates, and the role of the tensor: down, up or alpha."""
    parsed = parse_key(key)
    match = PREFIXES[encoder].match(key)
    assert match is not None
    if parsed is None or parsed.kind not in ("lora", None):
        raise refusal("other-adapter", f"{key[:100]} is not a factor of a low-rank update of {encoder}")
    name = names.get(parsed.path[match.end() :].replace(".", "_"))
    if name is None:
        raise refusal("unknown-keys", f"{key[:100]} updates no linear that {encoder} of the pipeline has")
    return name, parsed.role


def _read_factors(
    encoder: str, keys: Mapping[str, str], header: Header, get: Callable[[str], Tensor], max_rank: int
) -> Factors:
    """Return the update of one linear. keys: role -> key."""
    factors = {role: key for role, key in keys.items() if role != "alpha"}
    first = next(iter(keys.values()))
    if set(factors) != {"down", "up"}:
        raise refusal("orphan", f"{first[:100]} is present without its counterpart")
    size = compute_size("lora", first, {role: header.tensors[key].shape for role, key in factors.items()})
    if not 1 <= size.rank <= max_rank:
        raise refusal("rank-out-of-bounds", f"{first[:100]} has rank {size.rank}, expected 1 to {max_rank}")
    for key in factors.values():
        if header.tensors[key].dtype not in FLOAT_DTYPES:
            raise refusal("bad-dtype", f"{key[:100]} is stored as {header.tensors[key].dtype}")
        check_magnitude(get(key), key)
    down, up = build_factors("lora", {role: get(key) for role, key in factors.items()})
    alpha = read_alpha(get, header, keys["alpha"]) if "alpha" in keys else _stated_alpha(header, encoder)
    return Factors(down=down, up=up, scale=1.0 if alpha is None else alpha / size.rank)


def _stated_alpha(header: Header, encoder: str) -> float | None:
    """Return the alpha of the config that diffusers stores in the header, or None if there is none."""
    try:
        config = json.loads(header.metadata.get(METADATA_KEY, "{}"))
        fields = {name: config.get(f"{encoder}.{name}") for name in ("lora_alpha", *UNREAD_FIELDS)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise refusal("bad-alpha", f"{METADATA_KEY} is not valid JSON") from error
    if unread := [name for name in UNREAD_FIELDS if fields[name]]:
        raise refusal("bad-alpha", f"the config of {encoder} has {unread[0]}, which is not read")
    alpha = fields["lora_alpha"]
    if alpha is not None and not (isinstance(alpha, int | float) and abs(alpha) <= MAX_MAGNITUDE):
        raise refusal("bad-alpha", f"lora_alpha of {encoder} is not a finite number")
    return alpha
