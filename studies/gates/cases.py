"""The situations in which methods are compared: which adapters are loaded beside a pair, and how relevant they seem."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autolora.experiments.cases import PromptCase
from autolora.storage.hashes import hash_value
from studies.gates.world import World

RELEVANT = 0.5
"""the mask sums the adapters whose relevance is above this"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What is loaded for the prompt of a pair."""

    title: str
    unnamed: int = 0
    """adapters that the prompt does not name"""
    noise: float = 0.15
    """standard deviation of the noise on the relevances 1 and 0, clipped to 0..1"""
    strengths: tuple[float, float] = (1.0, 1.0)
    """of the two named adapters, which take turns"""


SITUATIONS: Mapping[str, Situation] = {
    "right": Situation(title="Right relevance"),
    "unnamed": Situation(title="One unnamed adapter more", unnamed=1),
    "wrong": Situation(title="One unnamed adapter more, wrong relevance", unnamed=1, noise=0.4),
    "many": Situation(title="Three unnamed adapters more (k = 5)", unnamed=3),
    "uneven": Situation(title="Uneven strengths", strengths=(0.6, 1.4)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An adapter that is loaded, as all methods see it."""

    sha256: str
    relevance: float
    strength: float


def load_case(world: World, case: PromptCase, situation: Situation) -> list[Loaded]:
    """Return the adapters of a pair in a situation, the named ones first; the same ones for every method."""
    rng = np.random.default_rng(int(hash_value(["gates", case.adapters, case.prompt])[:15], 16))
    others = world.others(case)
    order = rng.permutation(len(others))[: situation.unnamed].tolist()
    sha256s = [*case.adapters, *(others[index].sha256 for index in order)]
    truth = np.arange(len(sha256s)) < len(case.adapters)
    relevance = np.clip(truth + situation.noise * rng.standard_normal(len(sha256s)), 0, 1)
    named = situation.strengths if rng.integers(2) else situation.strengths[::-1]
    strengths = [*named, *[1.0] * (len(sha256s) - len(named))]
    return [
        Loaded(sha256=sha256, relevance=float(score), strength=strength)
        for sha256, score, strength in zip(sha256s, relevance, strengths, strict=True)
    ]
