"""The ledger of a file's keys: every key is used, set aside under a named family, or unknown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autolora.lora import formats, unsupported
from autolora.lora.decompositions import FORMS
from autolora.lora.verdict import refusal
from autolora.slots import Slot

SHOWN = 5
"""unknown keys that a refusal names"""
LONGEST_KEY = 256
"""characters of a key that is looked at: no tool's come near it, and a hostile one costs no time"""
EXAMINED = 5000
"""unknown keys of which a reason is sought: with more, no reason is needed"""
TEXT_FAMILIES = {"text-encoder", "text-embedding"}
MARKS = {"lora": "", "loha": "-loha", "lokr": "-lokr"}
"""kind of update -> what it adds to a layout's name"""


@dataclass(slots=True)
class Claim:
    """One module of the file: the slots it feeds and the keys of its tensors."""

    path: str
    name: str
    """its path without the layout's prefix"""
    layout: str
    slots: tuple[Slot, ...]
    kind: str = "lora"
    """lora, loha or lokr"""
    keys: dict[str, str] = field(default_factory=dict)
    """role (down, up, w1_a, …, alpha) -> key"""

    @property
    def factors(self) -> dict[str, str]:
        """The keys without alpha's."""
        return {role: key for role, key in self.keys.items() if role != "alpha"}


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of all keys."""

    claims: tuple[Claim, ...]
    """sorted by path, each with all the tensors that make its update"""
    families: Mapping[str, str]
    """key -> family, of keys that are set aside"""
    unknown: tuple[str, ...]
    seen: int

    @property
    def used(self) -> int:
        """How many keys feed slots."""
        return sum(len(claim.keys) for claim in self.claims)

    @property
    def set_aside(self) -> tuple[str, ...]:
        """The families, sorted."""
        return tuple(sorted(set(self.families.values())))

    @property
    def layout(self) -> str:
        """The layout's name; several joined by + where a file mixes them."""
        return "+".join(sorted({f"{claim.layout}{MARKS[claim.kind]}" for claim in self.claims}))


def account(keys: Iterable[str], slots: Sequence[Slot], min_known: float) -> Ledger:
    """Account for every key of a file.

    keys: the tensors' names; slots: of the base model; min_known: share of keys that must be understood.
    Raises RefusedFile: not-a-lora, wrong-base, control, quantized, dora, tucker, oft, weight-diff, lora-bias,
    other-adapter, unknown-keys, text-encoder-only, no-slots, orphan, slot-twice.
    """
    names = sorted(keys)
    modules = {key: module for key in names if (module := _find_module(key))}
    others = [key for key in names if key not in modules]
    families = {key: family for key in others if (family := _find_family(key))}
    unknown = tuple(key for key in others if key not in families)
    _check_kind(names, [key for key in unknown[:EXAMINED] if len(key) <= LONGEST_KEY])
    claims = _claim(modules, {slot.name: slot for slot in slots})
    if len(names) - len(unknown) < min_known * len(names) or len(unknown) > EXAMINED:
        shown = ", ".join(key[:100] for key in unknown[:SHOWN])
        raise refusal("unknown-keys", f"{len(unknown)} of {len(names)} keys, first {shown}")
    ledger = Ledger(tuple(claims), families, unknown, len(names))
    if not claims:
        code = "text-encoder-only" if set(ledger.set_aside) <= TEXT_FAMILIES else "no-slots"
        raise refusal(code, f"its {len(names)} keys are {', '.join(ledger.set_aside)}")
    _check_claims(claims)
    return ledger


def _find_module(key: str) -> tuple[formats.Part, formats.Module] | None:
    part = formats.find_part(key)
    module = formats.find_module(part.path, part.style) if part else None
    return (part, module) if part and module else None


def _find_family(key: str) -> str | None:
    return unsupported.find_family(key) if len(key) <= LONGEST_KEY else None


def _check_kind(names: Sequence[str], unknown: Sequence[str]) -> None:
    """Refuse full models, LoRAs for other base models, and updates that are no low-rank product."""
    kinds = {key: code for key in unknown if (code := unsupported.find_parametrization(key))}
    if not kinds and not any(_is_lora_key(key) for key in names):
        raise refusal("not-a-lora", f"none of its {len(names)} keys is a LoRA's, first {_first(names)}")
    for key in unknown:
        if base := unsupported.find_base(key):
            raise refusal("wrong-base", f"{key[:100]} belongs to {base}")
    companions = {key: code for key in unknown if (code := unsupported.find_companion(key))}
    for found in (companions, kinds):
        if found:
            key, code = next(iter(found.items()))
            raise refusal(code, f"{list(found.values()).count(code)} such keys, first {key[:100]}")


def _is_lora_key(key: str) -> bool:
    part = formats.find_part(key)
    return part is not None and part.kind is not None


def _first(names: Sequence[str]) -> str:
    return names[0][:100] if names else "none"


def _claim(
    modules: Mapping[str, tuple[formats.Part, formats.Module]], slots: Mapping[str, Slot]
) -> list[Claim]:
    """Gather keys into claims by module path, sorted.

    Raises RefusedFile wrong-base when a FLUX module lies in a block that this base model does not have,
    slot-twice when two keys have the same role.
    """
    claims: dict[str, Claim] = {}
    for key, (part, module) in modules.items():
        if missing := [name for name in module.slots if name not in slots]:
            raise refusal(
                "wrong-base", f"{key[:100]} feeds {missing[0]}, which this base model does not have"
            )
        targets = tuple(slots[name] for name in module.slots)
        claim = claims.setdefault(part.path, Claim(part.path, module.name, module.layout, targets))
        if part.role in claim.keys or (claim.factors and part.kind not in (None, claim.kind)):
            raise refusal("slot-twice", f"{key[:100]} and {next(iter(claim.keys.values()))[:100]}")
        if part.kind is not None:
            claim.kind, claim.layout = part.kind, module.layout
        claim.keys[part.role] = key
    return [claims[path] for path in sorted(claims)]


def _check_claims(claims: Iterable[Claim]) -> None:
    """Refuse modules of which a part is missing, and slots that two modules claim."""
    owners: dict[str, str] = {}
    for claim in claims:
        forms = FORMS[claim.kind]
        if set(claim.factors) not in [set(form) for form in forms]:
            wanted = " or ".join("/".join(form) for form in forms)
            raise refusal("orphan", f"{claim.path[:100]} has {'/'.join(claim.keys)}, an update is {wanted}")
        for slot in claim.slots:
            if slot.name in owners:
                raise refusal(
                    "slot-twice", f"{slot.name} by {owners[slot.name][:100]} and by {claim.path[:100]}"
                )
            owners[slot.name] = claim.path
