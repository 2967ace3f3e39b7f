"""The ledger of a file's keys: every key is used, set aside under a named family, or unknown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autolora.lora import formats
from autolora.lora.verdict import refusal
from autolora.slots import Slot

SHOWN = 5
"""unknown keys that a refusal names"""


@dataclass(slots=True)
class Claim:
    """One module of the file: the slots it feeds and the keys of its tensors."""

    path: str
    layout: str
    slots: tuple[Slot, ...]
    keys: dict[str, str] = field(default_factory=dict)
    """role (down, up, alpha) -> key"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of all keys."""

    claims: tuple[Claim, ...]
    """sorted by path, each with down and up"""
    set_aside: tuple[str, ...]
    """families, sorted"""
    unknown: tuple[str, ...]
    seen: int

    @property
    def used(self) -> int:
        """How many keys feed slots."""
        return sum(len(claim.keys) for claim in self.claims)

    @property
    def layout(self) -> str:
        """The layout's name; several joined by + where a file mixes them."""
        return "+".join(sorted({claim.layout for claim in self.claims}))


def account(keys: Iterable[str], slots: Sequence[Slot], min_known: float) -> Ledger:
    """Account for every key of a file.

    keys: the tensors' names; slots: of the base model; min_known: share of keys that must be understood.
    Raises RefusedFile: not-a-lora, wrong-base, dora, lokr, loha, oft, weight-diff, lora-bias, unknown-keys,
    no-slots, orphan, slot-twice.
    """
    names = sorted(keys)
    families = {key: family for key in names if (family := formats.find_family(key))}
    rest = [key for key in names if key not in families]
    _check_kind(names, rest)
    claims, unknown = _claim(rest, {slot.name: slot for slot in slots})
    if len(names) - len(unknown) < min_known * len(names):
        shown = ", ".join(key[:100] for key in unknown[:SHOWN])
        raise refusal("unknown-keys", f"{len(unknown)} of {len(names)} keys, first {shown}")
    if not claims:
        raise refusal("no-slots", f"its {len(names)} keys are {', '.join(sorted(set(families.values())))}")
    _check_claims(claims)
    return Ledger(tuple(claims), tuple(sorted(set(families.values()))), tuple(unknown), len(names))


def _check_kind(names: Sequence[str], rest: Sequence[str]) -> None:
    """Refuse full models, LoRAs for other base models, and updates that are no low-rank product."""
    kinds = {key: code for key in rest if (code := formats.find_parametrisation(key))}
    if not kinds and not any(_is_lora_key(key) for key in names):
        raise refusal("not-a-lora", f"none of its {len(names)} keys is a LoRA's, first {_first(names)}")
    for key in rest:
        if base := formats.find_base(key):
            raise refusal("wrong-base", f"{key[:100]} belongs to {base}")
    if kinds:
        key, code = next(iter(kinds.items()))
        raise refusal(code, f"{len(kinds)} such keys, first {key[:100]}")


def _is_lora_key(key: str) -> bool:
    part = formats.find_part(key)
    return part is not None and part.role != "alpha"


def _first(names: Sequence[str]) -> str:
    return names[0][:100] if names else "none"


def _claim(keys: Iterable[str], slots: dict[str, Slot]) -> tuple[list[Claim], list[str]]:
    """Sort keys into claims by module path; the rest is unknown.

    Raises RefusedFile wrong-base when a FLUX module lies in a block that this base model does not have.
    """
    claims: dict[str, Claim] = {}
    unknown: list[str] = []
    for key in keys:
        part = formats.find_part(key)
        module = formats.find_module(part.path, part.style) if part else None
        if part is None or module is None:
            unknown.append(key)
            continue
        if missing := [name for name in module.slots if name not in slots]:
            raise refusal(
                "wrong-base", f"{key[:100]} feeds {missing[0]}, which this base model does not have"
            )
        targets = tuple(slots[name] for name in module.slots)
        claim = claims.setdefault(part.path, Claim(part.path, module.layout, targets))
        if part.role in claim.keys:
            raise refusal("slot-twice", f"{key[:100]} and {claim.keys[part.role][:100]}")
        if part.role != "alpha":
            claim.layout = module.layout
        claim.keys[part.role] = key
    return [claims[path] for path in sorted(claims)], unknown


def _check_claims(claims: Iterable[Claim]) -> None:
    """Refuse modules of which a half is missing, and slots that two modules claim."""
    owners: dict[str, str] = {}
    for claim in claims:
        if missing := [role for role in ("down", "up") if role not in claim.keys]:
            raise refusal("orphan", f"{claim.path[:100]} has {'/'.join(claim.keys)} but no {missing[0]}")
        for slot in claim.slots:
            if slot.name in owners:
                raise refusal("slot-twice", f"{slot.name} by {owners[slot.name]} and by {claim.path}")
            owners[slot.name] = claim.path
