"""Reads sections of params.yaml into dataclasses: unknown, missing and mistyped keys are errors."""

import datetime
import math
import os
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from autolora.errors import ParamsError
from autolora.presets.encoder import ENCODER, EncoderVariant
from autolora.presets.fusion import FUSION, FusionVariant
from autolora.storage.bounds import Bound
from autolora.storage.suggestions import did_you_mean

T = TypeVar("T")
V = TypeVar("V", EncoderVariant, FusionVariant)

VARIANTS: Mapping[type, Mapping[str, Any]] = {EncoderVariant: ENCODER, FusionVariant: FUSION}
"""type of a section's field `variant` -> preset -> variant"""


def read_section(kind: type[T], value: Any, dotted: str = "") -> T:
    """Return a section as its dataclass; `dotted` is its path in params.yaml, e.g. hubs.civitai, empty for the file.

    Its keys are the fields without a default. Raises ParamsError with the dotted path of a wrong key or value and what
    is allowed there.
    """
    content = _mapping(value, dotted)
    hints = _hints(kind)
    keys = ["overrides" if name == "variant" else _key(name) for name in hints]
    prefix = f"{dotted}." if dotted else ""
    for key in content:
        _require_known(key, keys, prefix)
    for key in keys:
        if key not in content:
            raise ParamsError(f"missing key '{prefix}{key}'; needed here: {', '.join(keys)}")
    values = {
        name: _value(hints[name], content[_key(name)], prefix + _key(name))
        for name in hints
        if name != "variant"
    }
    if "variant" in hints:
        presets = VARIANTS[hints["variant"]]
        values["variant"] = _override(presets[values["preset"]], content["overrides"], f"{prefix}overrides")
    return kind(**values)


def to_keys(section: Any) -> dict[str, Any]:
    """Return a section without a preset as `read_section` reads it."""
    values = {_key(name): getattr(section, name) for name in _hints(type(section))}
    return {key: to_keys(value) if is_dataclass(value) else value for key, value in values.items()}


def _hints(kind: Any) -> dict[str, Any]:
    """Return name -> annotation of the fields without a default."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.default is MISSING}


def _key(name: str) -> str:
    """Return the key of a field; a field that would be a keyword of Python has an underscore behind it."""
    return name.removesuffix("_")


def _override(variant: V, value: Any, dotted: str) -> V:
    """Return a preset's variant with the overrides of params.yaml; `dotted` is their path there."""
    content = _mapping(value, dotted)
    hints = _hints(type(variant))
    for key in content:
        _require_known(key, list(hints), f"{dotted}.")
    return replace(variant, **{key: _value(hints[key], content[key], f"{dotted}.{key}") for key in content})


def _mapping(value: Any, dotted: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ParamsError(f"{dotted or 'the file'} must be a mapping, not {_yaml(value)}")
    return value


def _require_known(key: Any, allowed: list[str], prefix: str) -> None:
    if key not in allowed:
        suggestion = did_you_mean(str(key), allowed)
        raise ParamsError(f"unknown key '{prefix}{key}'; allowed here: {', '.join(allowed)}{suggestion}")


def _value(kind: Any, value: Any, dotted: str, or_null: str = "") -> Any:
    """Return a value in the type that its field is annotated with; `dotted` is its path.

    A text that begins with `~/` is a path below the home folder. or_null: follows a bound in an error.
    Raises ParamsError if the value is not of that type, or out of its bounds.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *bounds = get_args(kind)
        return _bounded(_value(inner, value, dotted), bounds, dotted, or_null)
    if is_dataclass(kind):
        return read_section(kind, value, dotted)  # type: ignore[arg-type]  # is_dataclass does not narrow
    if origin is Literal:
        return _literal(kind, value, dotted, or_null)
    if origin in (Union, types.UnionType):
        inner = next(member for member in get_args(kind) if member is not type(None))
        return None if value is None else _value(inner, value, dotted, ", or null")
    if origin is tuple:
        if not isinstance(value, list):
            raise ParamsError(f"{dotted} must be a list, not {_yaml(value)}")
        return tuple(_value(get_args(kind)[0], item, f"{dotted}[{i}]") for i, item in enumerate(value))
    if kind is datetime.date:
        return _date(value, dotted)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ParamsError(f"{dotted} is a number that is too large") from error
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise ParamsError(f"{dotted} is {value!r} but must be a finite number")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ParamsError(
            f"{dotted} must be of type {kind.__name__}, not {_yaml(value)}{_number_hint(kind, value)}"
        )
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _bounded(value: Any, bounds: Iterable[Bound], dotted: str, or_null: str) -> Any:
    """Return a value; raises ParamsError if a bound does not hold for it."""
    for bound in bounds:
        if not bound.holds(value):
            written = list(value) if isinstance(value, tuple) else value
            raise ParamsError(f"{dotted} is {written!r} but must be {bound.text}{or_null}")
    return value


def _number_hint(kind: Any, value: Any) -> str:
    """Return how to write a number that YAML 1.1 reads as a text: one in quotes, or an exponent without a point."""
    try:
        number = float(value) if kind is float and isinstance(value, str) else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    written = repr(number)
    mantissa, letter, exponent = written.partition("e")
    return f", which YAML reads as a text: write {mantissa if '.' in mantissa else f'{mantissa}.0'}{letter}{exponent}"


def _date(value: Any, dotted: str) -> datetime.date:
    """Return the date of an ISO string; DVC does not accept params of YAML's date type."""
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ParamsError(
            f'{dotted} must be a date in quotes like "2026-01-31", not {_yaml(value)}'
        ) from error


def _literal(kind: Any, value: Any, dotted: str, or_null: str) -> Any:
    allowed = get_args(kind)
    if value not in allowed:
        suggestion = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise ParamsError(
            f"{dotted} is {_yaml(value)}{suggestion}; allowed: {', '.join(map(repr, allowed))}{or_null}"
        )
    return value


def _yaml(value: Any) -> str:
    """Return a value for a message, None as YAML writes it."""
    return "null" if value is None else repr(value)
