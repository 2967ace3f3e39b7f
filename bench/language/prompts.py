"""The prompts that are measured, what each asks for, and what stands around them."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autolora.metrics.judgments import Judgment
from bench.selection_cases import make_cases

DATA = Path(__file__).parent / "data"
SAMPLES: Mapping[str, int] = {"composite": 144, "triple": 72}
"""prompts that are drawn of those of a kind; of other kinds all are measured"""
OBJECTS_PER_STYLE = 3
WRAPPED = "wrapped"
"""name of the context that has the wrappers"""

Context = Callable[[str], str]
"""from a prompt to a text that contains it"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and the themes that it asks for."""

    kind: str
    text: str
    themes: frozenset[str]
    cluster: str
    """of prompts that are not independent: a theme, or for one without a theme itself"""
    is_removed: bool = False
    """whether the adapters of these themes are taken out, so that nothing fits"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a prompt."""

    before: str
    after: str
    strip: bool = False
    """whether the text has no punctuation"""

    def around(self, prompt: str) -> str:
        """Return the text with the prompt in it. Punctuation follows without a space."""
        gap = "" if re.match(r"[.,;:?!]", self.after) else " "
        text = f"{self.before} {prompt}{gap}{self.after}".strip()
        return " ".join(re.sub(r"[^\w\s']", " ", text).split()) if self.strip else text


def read_contexts() -> dict[str, Context]:
    """Return the forms by name, and WRAPPED: a wrapper that the prompt's hash chooses."""
    forms = json.loads((DATA / "forms.json").read_text(encoding="utf-8"))
    wrappers = [Surroundings(**row) for row in read_lines("wrappers.jsonl")]
    contexts: dict[str, Context] = {name: Surroundings(**row).around for name, row in forms.items()}
    return contexts | {WRAPPED: lambda text: wrappers[_hash(text) % len(wrappers)].around(text)}


def make_prompts(indexed: Sequence[Judgment], seed: int, with_new: bool) -> list[Prompt]:
    """Return the prompts for the themes of the indexed adapters. with_new: also those of new_words.jsonl."""
    rng = np.random.default_rng(seed)
    words = {"other words": "other_words.jsonl"} | ({"new words": "new_words.jsonl"} if with_new else {})
    return [
        *_cases(indexed, rng),
        *_grid(indexed, rng),
        *(
            Prompt("neighbours", row["text"], frozenset(row["themes"]), row["themes"][0])
            for row in read_lines("neighbours.jsonl")
        ),
        *(
            Prompt(kind, row["text"], frozenset([row["theme"]]), row["theme"])
            for kind, file in {"plurals": "plurals.jsonl", **words}.items()
            for row in read_lines(file)
        ),
        *(
            Prompt("unrelated", row["text"], frozenset(), row["text"])
            for row in read_lines("unrelated.jsonl")
        ),
    ]


def read_lines(file: str) -> list[dict[str, Any]]:
    """Return the rows of a file of data/."""
    return [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]


def _cases(indexed: Iterable[Judgment], rng: np.random.Generator) -> list[Prompt]:
    """Return the prompts of bench.selection_cases whose words captions contain."""
    groups: dict[str, list[Prompt]] = {}
    for case in make_cases(indexed):
        if case.kind != "described":
            prompt = Prompt(case.kind, case.prompt, case.themes, case.cluster, case.kind == "absent")
            groups.setdefault(case.kind, []).append(prompt)
    return [
        group[row]
        for kind, group in groups.items()
        for row in sorted(rng.permutation(len(group))[: SAMPLES.get(kind)].tolist())
    ]


def _grid(indexed: Iterable[Judgment], rng: np.random.Generator) -> list[Prompt]:
    """Return a few objects behind each style and palette, without a word between them."""
    objects = _themes(indexed, "object")
    return [
        Prompt("grid", f"a {style} {objects[row]}", frozenset((style, objects[row])), style)
        for style in (*_themes(indexed, "style"), *_themes(indexed, "palette"))
        for row in sorted(rng.permutation(len(objects))[:OBJECTS_PER_STYLE].tolist())
    ]


def _themes(indexed: Iterable[Judgment], kind: str) -> list[str]:
    return sorted({judgment.theme for judgment in indexed if judgment.kind == kind})


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)
