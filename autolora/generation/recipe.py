"""The recipe of a generated image, read from the provenance in its PNG, to generate the image again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from autolora.catalog.names import full_name
from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.generation.provenance import describe_strength, read_provenance
from autolora.params import GenerationParams, Method, Params
from autolora.params.limits import check_acting, check_method, check_prompt, check_relevance, check_strength
from autolora.params.reader import read_section, to_keys
from autolora.records import Hit
from autolora.storage.validation import check_sha256, checked_object, strings

if TYPE_CHECKING:
    from autolora.search.retriever import Retriever

MAX_SIDE, MAX_STEPS, MAX_TOKENS = 4096, 1000, 512
"""px, denoising steps and T5 tokens that an image may ask for: whoever wrote a PNG decides what is in it"""
FIELDS = {
    "sha256": (str,), "hub": (str,), "id": (str,), "file": (str,), "license": (str, type(None)), "score": (float, int),
    "relevance": (float, int, type(None)), "strength": (float, int), "trigger_words": (list,),
}  # fmt: skip
"""field of an adapter -> its types"""
NOT_COMPARED = ("generation.batch", "generation.method", "generation.trigger_words")
"""fields of a provenance that do not change the pixels, or only through others"""
LABELS = {"text": "prompt with trigger words"}
"""field of a provenance -> what it is called for a reader"""
UNKNOWN = "unknown"
"""stands for a field that another version of AutoLoRA did not record"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedAdapter:
    """An adapter that an image was generated with."""

    sha256: str
    name: str
    relevance: float | None
    strength: float
    trigger_words: tuple[str, ...]

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """Return an adapter of a provenance; raises KeyError, TypeError, ValueError or MismatchError if it is none."""
        known = {name: row[name] for name in FIELDS if name in row}
        values: dict[str, Any] = {"relevance": None, "strength": 1.0} | checked_object(known, FIELDS)
        check_sha256(values["sha256"])
        check_relevance(values["id"], values["relevance"])
        return cls(
            sha256=values["sha256"],
            name=full_name(values["hub"], values["id"], values["file"]),
            relevance=values["relevance"],
            strength=check_strength(values["id"], values["strength"]),
            trigger_words=strings(values["trigger_words"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecipe:
    """All that determines an image."""

    path: Path
    prompt: str
    adapters: tuple[RecordedAdapter, ...]
    method: Method
    seed: int
    settings: GenerationParams
    provenance: Mapping[str, Any]
    """as the PNG contains it"""

    def find_hits(self, retriever: "Retriever") -> list[Hit]:
        """Return the adapters, with the strength, relevance and trigger words that they had.

        Raises MissingArtifact if the index of the retriever does not contain some of them.
        """
        gone = [
            f"{adapter.name} (sha256 {adapter.sha256[:8]})"
            for adapter in self.adapters
            if not retriever.names.find_all(adapter.sha256)
        ]
        if gone:
            raise MissingArtifact(
                f"the index that is searched does not contain {len(gone)} of the adapters of {self.path}, "
                f"{', '.join(gone)}: give the --rev of an index that does (`autolora versions`), or other adapters "
                "(--adapter, -k)"
            )
        hits = retriever.named(self.prompt, [adapter.sha256 for adapter in self.adapters])
        return [
            replace(
                hit,
                relevance=adapter.relevance,
                strength=adapter.strength,
                trigger_words=adapter.trigger_words,
            )
            for hit, adapter in zip(hits, self.adapters, strict=True)
        ]


def read_recipe(path: Path, params: Params) -> ImageRecipe:
    """Return the recipe of an image.

    params: of this project, whose settings are used where the version that wrote the image had none.
    Raises MissingArtifact if the file has no provenance, or one that is not valid or asks for too much.
    """
    provenance = read_provenance(path)
    try:
        check_acting([row["sha256"] for row in provenance["adapters"]])
        recipe = ImageRecipe(
            path=path,
            prompt=check_prompt(provenance["prompt"]),
            adapters=tuple(map(RecordedAdapter.from_row, provenance["adapters"])),
            method=check_method(provenance["method"]),
            seed=checked_object({"seed": provenance["seed"]}, {"seed": (int,)})["seed"],
            settings=_read_settings(provenance["generation"], params),
            provenance=provenance,
        )
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        ParamsError,
        MismatchError,
    ) as error:
        raise MissingArtifact(
            f"the provenance in {path} cannot be repeated ({error}): it is damaged, or another version of AutoLoRA "
            "wrote it; `autolora show --json` prints it"
        ) from error
    return recipe


def differences(former: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line per field that determines an image and differs between two provenances: `field: former → new`."""
    before, after = dict(_flatten(former)), dict(_flatten(new))
    return [
        f"{LABELS.get(name, name)}: {_text(name, before)} → {_text(name, after)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def pixel_difference(path: Path, image: Image.Image) -> int | None:
    """Return the largest difference of an image from that in a file, 0 to 255; None if their sizes differ."""
    with Image.open(path, formats=["PNG"]) as former:
        first, second = (np.asarray(each.convert("RGB"), np.int16) for each in (former, image))
    return int(np.abs(first - second).max()) if first.shape == second.shape else None


def _read_settings(recorded: Mapping[str, Any], params: Params) -> GenerationParams:
    """Return the settings of an image; those that it does not state are the current ones.

    Raises ParamsError if a value has a wrong type or is out of its bounds, ValueError if it is too large.
    """
    current = params.generation
    values = to_keys(current)
    values |= {name: recorded[name] for name in values if name in recorded}
    settings = read_section(GenerationParams, values, "generation")
    for name, limit in (
        ("width", MAX_SIDE), ("height", MAX_SIDE), ("steps", MAX_STEPS), ("max_sequence_length", MAX_TOKENS),
    ):  # fmt: skip
        if getattr(settings, name) > limit:
            raise ValueError(
                f"generation.{name} is {getattr(settings, name)}, but at most {limit} is repeated"
            )
    return replace(settings, batch=current.batch)


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields that determine an image, by their path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
    elif name == "adapters":
        yield name, [(row["sha256"], row.get("strength", 1.0), row.get("relevance")) for row in value]
    elif not name.startswith(NOT_COMPARED):
        yield name, value


def _text(name: str, fields: Mapping[str, Any]) -> str:
    """Return a field of `_flatten` as a text; None is recorded for what an image was made without."""
    value = fields.get(name, UNKNOWN)
    if name == "adapters" and isinstance(value, list):
        return ", ".join(map(_describe_adapter, value)) or "none"
    return "none" if value is None else str(value)


def _describe_adapter(values: tuple[str, float, float | None]) -> str:
    """Return an adapter, of which `_flatten` gives sha256, strength and relevance, as a text."""
    sha256, strength, relevance = values
    parts = [describe_strength(strength), "" if relevance is None else f"relevance {relevance:.2f}"]
    details = ", ".join(filter(None, parts))
    return f"{sha256[:8]} ({details})" if details else sha256[:8]
