"""The languages that are compared: that of the product, fitted by its own code, with one thing replaced in each."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from autolora import models
from autolora.encoder import language as fitting
from autolora.encoder import store as encoder_store
from autolora.encoder import training
from autolora.encoder.calibration import CalibrationSet
from autolora.encoder.examples import load_examples
from autolora.encoder.model import TextEncoder
from autolora.matching import evidence
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.evidence import log_odds_inputs
from autolora.matching.language import Language, LanguageMap
from autolora.matching.parts import split_parts
from autolora.params import Params
from autolora.storage.arrays import Float32Array, Float64Array
from bench.language.encoders import Remembered

MINILM, RANDOM_WORDS = "the project's", "random words"
"""names of the sentence encoders"""
COSINE_INPUTS = np.array([1.0, 0.0, 0.0, 1.0])
"""of `log_odds_inputs`: product and intercept"""

Split = Callable[[str], tuple[str, ...]]
"""from a prompt to its parts"""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What the training of the encoder gives to `fit_language`."""

    adapters: CalibrationSet
    embed: fitting.Embed
    project: fitting.Embed
    rule: CaptionRule | None
    seed: int


def read_inputs(root: Path, params: Params, text_encoder: TextEncoder) -> Inputs:
    """Train the encoder again, and return what it gives to `fit_language`: predictions from weights out of fold."""
    examples = load_examples(root)
    encoder = training.build(root, params.encoder, models.transformer_config(params.models), text_encoder)
    read = encoder_store.reader(root, encoder.config, params.pool)
    with mock.patch.object(training, "fit_language") as fit:
        for _ in training.fit(encoder, examples, read, text_encoder, params.encoder, text_encoder):
            pass
    adapters, _, *others = fit.call_args.args
    return Inputs(adapters, *others)


@dataclass(frozen=True, slots=True)
class Variant:
    """The language of the product if every field has its default."""

    sentences: str = MINILM
    split: Split = split_parts
    is_cosine: bool = False
    """whether parts are compared by cosine, and only its slope and an intercept are fitted"""

    def fit(self, inputs: Inputs, sentences: TextEncoder) -> Language:
        """Return the language that the product's code fits with these replacements."""
        with ExitStack() as replaced:
            for owner, name, value in self._replacements():
                replaced.enter_context(mock.patch.object(owner, name, value))
            others = inputs.embed, inputs.project, inputs.rule, inputs.seed
            return fitting.fit_language(inputs.adapters, sentences, *others)

    def read(
        self, language: Language, text: str, encode: Remembered, project: Remembered
    ) -> evidence.Reading:
        """Return how the language reads a prompt with these replacements."""
        with ExitStack() as replaced:
            for owner, name, value in self._replacements():
                replaced.enter_context(mock.patch.object(owner, name, value))
            return evidence.read_prompt(text, language, encode, project)

    def _replacements(self) -> list[tuple[Any, str, Any]]:
        shared = [(module, "split_parts", self.split) for module in (fitting, evidence)]
        if not self.is_cosine:
            return shared
        of_product = LanguageMap.parts
        return [
            *shared,
            (fitting, "log_odds_inputs", cosine_inputs),
            (LanguageMap, "parts", lambda fitted, features: unit(of_product(fitted, features))),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How a language reads prompts."""

    variant: Variant
    language: Language
    encode: Remembered
    """from texts to features of the sentence encoder"""
    project: Remembered
    """from texts to the vectors that weights are compared with, of any length"""

    @property
    def split(self) -> Split:
        """Return what splits prompts."""
        return self.variant.split

    def read(self, text: str) -> evidence.Reading:
        """Return how a prompt is read."""
        return self.variant.read(self.language, text, self.encode, self.project)


def whole(prompt: str) -> tuple[str, ...]:
    """Return the prompt as its only part."""
    return (prompt,)


def cosine_inputs(products: Float64Array, sizes: Float64Array) -> Float64Array:
    """Return `log_odds_inputs` of which the coefficients of sizes stay 0."""
    inputs: Float64Array = log_odds_inputs(products, sizes) * COSINE_INPUTS
    return inputs


def unit(vectors: Float32Array) -> Float32Array:
    """Return the vectors (N, d) with length 1."""
    units: Float32Array = directions(vectors.astype(np.float64)).astype(np.float32)
    return units
