"""Pools whose adapters have some captions and some texts, and folders of files that people have named.

Texts are names, trigger words and descriptions as people write them, made from names of themes: one file in four tells
nothing, one in three has a sidecar. No hub of the playground has such texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from autolora.index.descriptions import texts_of, whole_text_of
from autolora.index.evidence import EvidenceReader
from autolora.index.store import TEXTS_TRUST, VECTORS
from autolora.matching.evidence import Evidence
from autolora.matching.shared_words import word_forms
from autolora.metrics.judgments import Judgment
from autolora.storage.arrays import Float32Array
from bench.language.pools import Captions

PATTERNS = {
    "style": (
        "{T}_Style_FLUX_v2",
        "flux-{t}-style",
        "{t}_lora_epoch_000012",
        "aesthetic {t} v1.0",
        "{T}StyleXL",
    ),
    "object": ("{t}_flux_lora_v1", "FLUX_{T}_by_Zaphod-000010", "my{t}-rank16", "{t} (1)", "cute_{t}_v3"),
    "scene": ("{t}_scenery_flux", "{T}Worlds_v1", "places/{t} background"),
    "palette": ("{t}_colors_flux", "{T}Tone-v2", "{t}-palette"),
}
VAGUE = (
    "pytorch_lora_weights", "lora", "flux_lora_final", "1234567", "Untitled_v4", "adapter_model", "my-train-000004",
    "test2", "model (2)", "lora_v1",
)  # fmt: skip
NUM_FOLDERS, FILES = 10, 40
Texts = Sequence[Sequence[str]]
"""of each adapter, and last all of them as one"""


def named(number: int, judgment: Judgment) -> list[str]:
    """Return the texts about a file as a person names and describes it, and last all of them as one."""
    theme = judgment.theme
    words = {"t": theme.replace(" ", "_"), "T": theme.title().replace(" ", "")}
    patterns = PATTERNS[judgment.kind or ""]
    is_vague = number % 4 == 3
    name = VAGUE[number // 4 % len(VAGUE)] if is_vague else patterns[number % len(patterns)].format(**words)
    said: tuple[list[str], list[str]] = ([], [])
    if number % 5 == 0:
        said = [f"{theme.replace(' ', '')}xx"], [f"{theme.title()} for FLUX", f"A LoRA for {theme} pictures"]
    elif number % 6 == 2:
        said = [f"{theme} thing"], [f"{theme} lora, trained on 20 pics"]
    row = {"id": name, "file": f"{name}.safetensors", "trigger_words": said[0], "description": said[1]}
    return [*texts_of(row), whole_text_of(row)]


def name_all(judgments: Sequence[Judgment], seed: int) -> list[list[str]]:
    """Return texts of adapters (N,), numbered in a random order."""
    numbers = np.random.default_rng(seed).permutation(len(judgments)).tolist()
    return [named(number, judgment) for number, judgment in zip(numbers, judgments, strict=True)]


def mixtures(
    captions: Sequence[Captions], judgments: Sequence[Judgment]
) -> Iterator[tuple[str, Sequence[Captions], Texts]]:
    """Yield name, captions and texts of each pool."""
    human, themes = name_all(judgments, seed=7), [judgment.theme for judgment in judgments]
    nothing: Texts = [("",)] * len(themes)
    by_captions: Mapping[str, Sequence[Captions]] = {
        "all": captions,
        "half of the themes": without_half(captions, themes),
        "one each": one_each(captions),
        "none": [{}] * len(themes),
        "exchanged": exchanged(captions, themes, seed=0),
    }
    by_texts = {"human": human, "none": nothing, "wrong": exchanged(human, themes, seed=3)}
    for name, own in by_captions.items():
        for kind, texts in by_texts.items():
            if kind != "wrong" or name in ("all", "none"):
                yield f"captions {name}, texts {kind}", own, texts


def exchanged(values: Sequence[Any], themes: Sequence[str], seed: int) -> list[Any]:
    """Return values (N,) of which each is that of an adapter of another theme."""
    order = np.random.default_rng(seed).permutation(len(themes)).tolist()
    found = list(values)
    for place, row in enumerate(order):
        later = [*order[place + 1 :], *order[:place]]
        found[row] = values[next(other for other in later if themes[other] != themes[row])]
    return found


def without_half(captions: Sequence[Captions], themes: Sequence[str]) -> list[Captions]:
    """Return captions without those of half of the themes."""
    names = sorted(set(themes))
    rows = np.random.default_rng(0).permutation(len(names))[: len(names) // 2]
    left = {names[row] for row in rows.tolist()}
    return [{} if theme in left else own for own, theme in zip(captions, themes, strict=True)]


def one_each(captions: Sequence[Captions]) -> list[Captions]:
    """Return the captions of one image of each adapter."""
    rng = np.random.default_rng(0)
    return [dict([list(own.items())[rng.integers(len(own))]]) if own else {} for own in captions]


def gather(
    reader: EvidenceReader, weights: Float32Array | None, captions: Sequence[Captions], texts: Texts
) -> Evidence:
    """Return the evidence that an index of adapters with these captions and texts has. weights (N, d): or none."""
    rows = [
        reader.read(None if weights is None else weights[row], list(own.values()), said, whole)
        for row, (own, (*said, whole)) in enumerate(zip(captions, texts, strict=True))
    ]
    captioned, told, whole_texts = (np.array([row[name] for row in rows], np.float32) for name in VECTORS[1:])
    trust = np.array([row[TEXTS_TRUST] for row in rows], np.float32)
    words = [sorted({form for text in said for form in word_forms(text)}) for *said, _ in texts]
    return Evidence(weights, captioned, told, whole_texts, trust, pa.array(words, pa.list_(pa.string())))


def folders(judgments: Sequence[Judgment]) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield the adapters of folders, and the names of their files."""
    for seed in range(NUM_FOLDERS):
        rows = np.random.default_rng(seed).permutation(len(judgments))[:FILES].tolist()
        yield rows, [named(number, judgments[row]) for number, row in enumerate(rows)]
