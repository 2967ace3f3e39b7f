"""What an experiment asks for: adapters drawn from the training lock, two at a time, and prompts about them.

A pair is an object and a style where judgments tell the kinds, else two adapters of different families.
Its prompt follows one template, K-LoRA's "<content> in <style>" for adapters that nobody has described:

    {a caption of the first}, {its trigger words}, {distinctive phrase of the second}, {its trigger words}
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Literal

import numpy as np

from autolora.dataset import store as dataset
from autolora.metrics.judgments import Judgment
from autolora.pool import store as pool
from autolora.records import Caption

KINDS = ("object", "style")
WORDS = 5
"""of a distinctive phrase, at most"""
ENOUGH = 8
"""adapters of a kind, a wanted pair, that pairs are drawn from: a large pool is not squared"""
SHARED = 0.5
"""a distinctive phrase is in at least this share of the adapter's captions"""
HEAVY = 0.5
"""a phrase begins and ends with words of at least this share of its heaviest word's weight"""

Outcome = Literal["pairs", "single", "base kept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """An adapter of the training lock, as an experiment sees it."""

    sha256: str
    family: str
    unseen: bool
    """whether it was held out of training"""
    kind: str | None
    theme: str | None
    renderings: tuple[str, ...]
    captions: tuple[str, ...]
    """short ones first"""
    trigger_words: tuple[str, ...]

    @property
    def topic(self) -> str:
        """What two subjects share when they are about the same: the theme, else the family."""
        return self.theme or self.family


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One prompt, the adapters loaded for it, and the pair that it belongs to."""

    outcome: Outcome
    prompt: str
    content: str
    """the prompt without trigger words, for judges that have never met them"""
    adapters: tuple[str, ...]
    """sha256"""
    themes: tuple[str | None, ...]
    """of the adapters, where judged"""
    cluster: str
    """trials of one cluster are not independent"""
    unseen: int
    """how many of the adapters were held out of training"""


def subjects(root: Path, judgments: Mapping[str, Judgment]) -> list[Subject]:
    """Return the adapters of the training lock that the pool still holds, with their captions and words."""
    described = {row["sha256"]: tuple(row["trigger_words"]) for row in dataset.rows(root, "adapters")}
    spoken = dataset.captions_of(root)
    return [
        Subject(
            sha256=row.sha256,
            family=row.family,
            unseen=row.split == "test",
            kind=judgments[row.sha256].kind if row.sha256 in judgments else None,
            theme=judgments[row.sha256].theme if row.sha256 in judgments else None,
            renderings=tuple(image for image in row.renderings if pool.rendering_path(root, image).exists()),
            captions=_shortest(caption for image in row.renderings for caption in spoken.get(image, ())),
            trigger_words=described[row.sha256],
        )
        for row in dataset.training(root).rows
        if row.sha256 in described and pool.weights_path(root, row.sha256).exists()
    ]


def draw_trials(subjects: Sequence[Subject], pairs: int, seed: int) -> list[Trial]:
    """Draw pairs by `seed`, held-out adapters first and each as seldom as possible, and all their trials.

    Each pair gives a trial of both adapters, one of each alone, and one whose prompt names neither.
    Adapters without a rendering or a caption are passed over. Empty where no two adapters fit together.
    """
    usable = sorted((s for s in subjects if s.renderings and s.captions), key=lambda s: s.sha256)
    rng = np.random.default_rng(seed)
    trials: dict[tuple[str, tuple[str, ...], str], Trial] = {}
    for first, second in draw_pairs(usable, pairs, rng):
        cluster = f"{first.sha256[:12]}+{second.sha256[:12]}"
        joint = joint_parts(first, second, usable, rng)
        found = [_trial("pairs", joint, (first, second), cluster)]
        found += [_trial("single", _named(one, rng), (one,), one.sha256[:12]) for one in (first, second)]
        bystanders = [s for s in usable if s.topic not in (first.topic, second.topic)]
        if bystanders:
            bystander = bystanders[int(rng.integers(len(bystanders)))]
            found.append(_trial("base kept", (_caption(bystander, rng),), (first, second), cluster))
        for trial in found:
            key = (trial.outcome, trial.adapters, "" if trial.outcome == "single" else trial.prompt)
            trials.setdefault(key, trial)
    return list(trials.values())


def draw_pairs(
    subjects: Sequence[Subject], count: int, rng: np.random.Generator
) -> list[tuple[Subject, Subject]]:
    """Draw up to `count` pairs: most held-out adapters first, then those least used so far, then by lot."""
    lot = [subjects[i] for i in rng.permutation(len(subjects)).tolist()]
    lot.sort(key=lambda subject: not subject.unseen)
    firsts, seconds = ([s for s in lot if s.kind == kind][: ENOUGH * count] for kind in KINDS)
    mixed = permutations(lot[: ENOUGH * count], 2)
    together = list(product(firsts, seconds)) if firsts and seconds else list(mixed)
    fitting = [
        pair for pair in together if pair[0].family != pair[1].family and pair[0].topic != pair[1].topic
    ]
    fitting = [fitting[i] for i in rng.permutation(len(fitting)).tolist()]
    used: Counter[str] = Counter()
    drawn: list[tuple[Subject, Subject]] = []
    while fitting and len(drawn) < count:
        best = min(
            fitting, key=lambda pair: (-sum(s.unseen for s in pair), sum(used[s.sha256] for s in pair))
        )
        fitting = [pair for pair in fitting if {s.sha256 for s in pair} != {s.sha256 for s in best}]
        used.update(subject.sha256 for subject in best)
        drawn.append(best)
    return drawn


def joint_parts(
    first: Subject, second: Subject, everyone: Sequence[Subject], rng: np.random.Generator
) -> tuple[str, ...]:
    """Return the parts of the prompt that asks for both, by the template above, without those that are missing."""
    others = [s for s in everyone if s.topic != second.topic]
    parts = (*_named(first, rng), distinctive_phrase(second, others), *second.trigger_words)
    return tuple(part for part in parts if part)


def distinctive_phrase(subject: Subject, others: Sequence[Subject]) -> str:
    """Return up to 5 words in a row that the subject's captions mostly share and the others' seldom have.

    A word's weight is its share of the subject's captions minus its share of the others'. The heaviest word,
    the first of them, grows while half of the captions have the phrase, to the right where it can; then light
    words at its ends are cut off.
    """
    captions = [_words(caption) for caption in subject.captions]
    here, there = _shares([subject]), _shares(others)
    order = dict.fromkeys(word for words in captions for word in words)
    weight = {word: here[word] - there.get(word, 0.0) for word in order}
    heaviest = max(weight, key=lambda word: round(weight[word], 9), default=None)
    if heaviest is None:
        return ""
    phrase: tuple[str, ...] = (heaviest,)
    while len(phrase) < WORDS and (longer := _extended(phrase, captions)):
        phrase = longer
    heavy = [i for i, word in enumerate(phrase) if weight[word] >= HEAVY * weight[heaviest]]
    return " ".join(phrase[heavy[0] : heavy[-1] + 1])


def _extended(phrase: tuple[str, ...], captions: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the phrase with one more word, right or left, that at least half of the captions have."""
    for right in (True, False):
        counts: Counter[tuple[str, ...]] = Counter()
        for words in captions:
            runs = {tuple(words[i : i + len(phrase) + 1]) for i in range(len(words) - len(phrase))}
            counts.update(run for run in runs if (run[:-1] if right else run[1:]) == phrase)
        best = min(counts, key=lambda run: (-counts[run], run), default=None)
        if best is not None and counts[best] >= SHARED * len(captions):
            return best
    return None


def _shares(subjects: Sequence[Subject]) -> Mapping[str, float]:
    """Return word -> share of the subjects' captions that have it."""
    captions = [set(_words(caption)) for subject in subjects for caption in subject.captions]
    counts = Counter(word for words in captions for word in words)
    return {word: count / len(captions) for word, count in counts.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _shortest(captions: Iterable[Caption]) -> tuple[str, ...]:
    return tuple(sorted((caption.text for caption in captions), key=lambda text: (len(text), text)))


def _caption(subject: Subject, rng: np.random.Generator) -> str:
    """Return one of the shorter half of the captions; they leave room in a short text encoder."""
    short = subject.captions[: (len(subject.captions) + 1) // 2]
    return short[int(rng.integers(len(short)))].strip().rstrip(".")


def _named(subject: Subject, rng: np.random.Generator) -> tuple[str, ...]:
    return (_caption(subject, rng), *subject.trigger_words)


def _trial(outcome: Outcome, parts: Sequence[str], subjects: tuple[Subject, ...], cluster: str) -> Trial:
    triggers = {word for subject in subjects for word in subject.trigger_words}
    return Trial(
        outcome=outcome,
        prompt=", ".join(parts),
        content=", ".join(part for part in parts if part not in triggers),
        adapters=tuple(subject.sha256 for subject in subjects),
        themes=tuple(subject.theme for subject in subjects),
        cluster=cluster,
        unseen=sum(subject.unseen for subject in subjects),
    )
