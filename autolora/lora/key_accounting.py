"""Key accounting: every key of a file is used, ignored as a recognized family, or unknown."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile

from autolora.errors import RefusedFile
from autolora.lora import formats, unsupported
from autolora.lora.decompositions import ROLE_SETS
from autolora.lora.slots import Slot
from autolora.lora.verdict import refusal

MAX_LISTED = 5
"""number of unknown keys that an error message lists"""
MAX_KEY_CHARS = 256
"""longer keys count as unknown without matching patterns: no tool writes them, and matching could be slow"""
MAX_EXAMINED = 5000
"""number of unknown keys that are matched against unsupported formats; files with more are always refused"""
TEXT_FAMILIES = {"text-encoder", "text-embedding"}
ZERO_DIFFERENCE, LEFTOVER_ALPHA = "zero-difference", "leftover-alpha"
"""families of ignored keys that have no effect: added tensors that are zero, and alphas of modules without weights"""
MLX_SUFFIX = re.compile(r"\.lora_[ab]$")
"""MLX's tensors of a LoRA, which are transposed: a layout that is not read"""
KIND_SUFFIXES = {"lora": "", "loha": "-loha", "lokr": "-lokr"}
"""kind of update -> suffix of the layout's name"""


@dataclass(slots=True)
class ModuleKeys:
    """One module of the file: the slots that it updates and the keys of its tensors."""

    path: str
    name: str
    """of the module in the model, with dots"""
    layout: str
    slots: tuple[Slot, ...]
    kind: str = "lora"
    """lora, loha or lokr"""
    keys: dict[str, str] = field(default_factory=dict)
    """role (down, up, w1_a, …, alpha) -> key"""

    @property
    def factors(self) -> dict[str, str]:
        """Return role -> key without alpha."""
        return {role: key for role, key in self.keys.items() if role != "alpha"}


@dataclass(frozen=True, slots=True)
class KeyReport:
    """How each key of a file is used."""

    modules: tuple[ModuleKeys, ...]
    """sorted by path; each has all tensors of its update"""
    ignored: Mapping[str, str]
    """key -> family, of recognized keys that update no slot, or have no effect"""
    unknown: tuple[str, ...]
    total: int

    @property
    def used(self) -> int:
        """Return the number of keys that update slots."""
        return sum(len(module.keys) for module in self.modules)

    @property
    def ignored_families(self) -> tuple[str, ...]:
        """Return the families of the ignored keys, sorted."""
        return tuple(sorted(set(self.ignored.values())))

    @property
    def layout(self) -> str:
        """Return the layout's name; several names are joined by + if the file mixes layouts."""
        return "+".join(sorted({f"{module.layout}{KIND_SUFFIXES[module.kind]}" for module in self.modules}))


def account_for_keys(
    keys: Iterable[str], slots: Sequence[Slot], min_known: float, is_zero: Callable[[str], bool]
) -> KeyReport:
    """Return how each key of a file is used.

    keys: the tensors' names; slots: of the base model; min_known: required share of keys that are used or ignored;
    is_zero: returns whether a key's tensor is zero, asked only for tensors that are added to weights or biases.
    Raises RefusedFile: not-a-lora, wrong-base, control, quantized, dora, tucker, oft, weight-diff, lora-bias,
    other-adapter, several-adapters, unknown-keys, text-encoder-only, no-slots, orphan, duplicate-slot.
    """
    names = sorted(keys)
    parsed = _find_modules(names)
    others = [key for key in names if key not in parsed]
    ignored = {key: family for key in others if (family := _find_ignored_family(key))}
    unknown = [key for key in others if key not in ignored]
    added = filter(unsupported.is_added, _examined(unknown))
    ignored |= dict.fromkeys(takewhile(is_zero, added), ZERO_DIFFERENCE)  # any other one refuses the file
    unknown = [key for key in unknown if key not in ignored]
    _check_format(names, _examined(unknown))
    _check_adapter_names(parsed)
    modules = _group_by_module(parsed, {slot.name: slot for slot in slots})
    ignored |= {module.keys["alpha"]: LEFTOVER_ALPHA for module in modules if not module.factors}
    modules = [module for module in modules if module.factors]
    if len(names) - len(unknown) < min_known * len(names) or len(unknown) > MAX_EXAMINED:
        listed = ", ".join(key[:100] for key in unknown[:MAX_LISTED])
        raise refusal("unknown-keys", f"{len(unknown)} of {len(names)} keys, first {listed}")
    if not modules:
        raise _without_modules(ignored, len(names))
    _check_modules(modules)
    return KeyReport(tuple(modules), ignored, tuple(unknown), len(names))


def _examined(unknown: Sequence[str]) -> list[str]:
    """Return the unknown keys that are matched against patterns of unsupported formats."""
    return [key for key in unknown[:MAX_EXAMINED] if len(key) <= MAX_KEY_CHARS]


def _without_modules(ignored: Mapping[str, str], total: int) -> RefusedFile:
    families = set(ignored.values())
    effective = families - {ZERO_DIFFERENCE, LEFTOVER_ALPHA}
    code = "text-encoder-only" if effective and effective <= TEXT_FAMILIES else "no-slots"
    return refusal(code, f"its {total} keys belong to {', '.join(sorted(families))}")


def _find_modules(keys: Iterable[str]) -> dict[str, tuple[formats.ParsedKey, formats.Module]]:
    """Return key -> its parts and its module, for keys of known layouts."""
    find_module = cache(formats.find_module)  # a module has two or three keys
    modules = {}
    for key in keys:
        parsed = formats.parse_key(key)
        if parsed and (module := find_module(parsed.path, parsed.style)):
            modules[key] = parsed, module
    return modules


def _find_ignored_family(key: str) -> str | None:
    return unsupported.find_ignored_family(key) if len(key) <= MAX_KEY_CHARS else None


def _check_format(names: Sequence[str], unknown: Sequence[str]) -> None:
    """Refuse full models, LoRAs for other base models, and adapters that are not low-rank updates."""
    parametrizations = {key: code for key in unknown if (code := unsupported.find_parametrization(key))}
    if not parametrizations and not any(_has_lora_suffix(key) or MLX_SUFFIX.search(key) for key in names):
        first = names[0][:100] if names else "none"
        raise refusal("not-a-lora", f"none of its {len(names)} keys belongs to a LoRA, first {first}")
    for key in unknown:
        if base := unsupported.find_other_base(key):
            raise refusal("wrong-base", f"{key[:100]} belongs to {base}")
    incompatible = {key: code for key in unknown if (code := unsupported.find_incompatible_key(key))}
    for codes in (incompatible, parametrizations):
        if codes:
            key, code = next(iter(codes.items()))
            raise refusal(code, f"{list(codes.values()).count(code)} such keys, first {key[:100]}")


def _has_lora_suffix(key: str) -> bool:
    parsed = formats.parse_key(key)
    return parsed is not None and parsed.kind is not None


def _check_adapter_names(parsed: Mapping[str, tuple[formats.ParsedKey, formats.Module]]) -> None:
    """Refuse a file with several PEFT adapters, each of which is a LoRA of its own."""
    adapters = sorted({part.adapter for part, _ in parsed.values()} - {""})
    if len(adapters) > 1:
        listed = ", ".join(name[:50] for name in adapters[:MAX_LISTED])
        raise refusal("several-adapters", f"{len(adapters)} names, first {listed}")


def _group_by_module(
    parsed: Mapping[str, tuple[formats.ParsedKey, formats.Module]], slots: Mapping[str, Slot]
) -> list[ModuleKeys]:
    """Return the modules of a file with their keys, sorted by path.

    Raises RefusedFile wrong-base if a FLUX module lies in a block that this base model does not have,
    duplicate-slot if two keys have the same role.
    """
    modules: dict[str, ModuleKeys] = {}
    for key, (part, target) in parsed.items():
        if missing := [name for name in target.slots if name not in slots]:
            raise refusal(
                "wrong-base", f"{key[:100]} updates {missing[0]}, which this base model does not have"
            )
        target_slots = tuple(slots[name] for name in target.slots)
        module = modules.setdefault(
            part.path, ModuleKeys(part.path, target.name, target.layout, target_slots)
        )
        if part.role in module.keys or (module.factors and part.kind not in (None, module.kind)):
            raise refusal("duplicate-slot", f"{key[:100]} and {next(iter(module.keys.values()))[:100]}")
        if part.kind is not None:
            module.kind, module.layout = part.kind, target.layout
        module.keys[part.role] = key
    return [modules[path] for path in sorted(modules)]


def _check_modules(modules: Iterable[ModuleKeys]) -> None:
    """Refuse modules with a missing tensor, and slots that two modules update."""
    path_of_slot: dict[str, str] = {}
    for module in modules:
        role_sets = ROLE_SETS[module.kind]
        if set(module.factors) not in [set(roles) for roles in role_sets]:
            expected = " or ".join("/".join(roles) for roles in role_sets)
            present = "/".join(module.keys)
            raise refusal("orphan", f"{module.path[:100]} has {present}, expected {expected}")
        for slot in module.slots:
            if slot.name in path_of_slot:
                other = path_of_slot[slot.name]
                raise refusal("duplicate-slot", f"{slot.name} by {other[:100]} and by {module.path[:100]}")
            path_of_slot[slot.name] = module.path
