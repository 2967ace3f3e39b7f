"""What the cases of a study consist of: how many different members they have, and what is unseen in each of them."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.experiments.cases import CandidateAdapter
from studies.crossed_bootstrap import Groups, members_of

TEST_SPLIT = "adapters of the test split"
UNTRAINED = "themes that no training adapter has"
NAMED = "themes of adapters that the prompt names"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyCase:
    """A case as the tables count it."""

    groups: Groups
    """what cases share"""
    adapters: Sequence[str]
    """sha256 of those that the prompt asks for or describes"""
    prompt: str


def describe_cases(
    cases: Sequence[StudyCase], adapters: Mapping[str, CandidateAdapter], trained: Collection[str]
) -> dict[str, Any]:
    """Return the fields `different` and `per case` of a table.

    adapters: sha256 -> adapter. trained: themes of the adapters that gates are trained on.
    """
    members = [[adapters[sha256] for sha256 in case.adapters] for case in cases]
    themes = {adapter.theme for adapter in adapters.values() if adapter.theme}
    counts: dict[str, list[int]] = {}
    if any(members):
        counts[TEST_SPLIT] = [sum(adapter.unseen for adapter in case) for case in members]
        if themes:
            named = [[adapter.theme for adapter in case if adapter.theme] for case in members]
            counts[UNTRAINED] = [sum(theme not in trained for theme in case) for case in named]
    elif themes:
        counts[NAMED] = list(map(_names(themes), (case.prompt for case in cases)))
    return {
        "different": count_different([case.groups for case in cases]),
        "per case": {noun: _distribution(numbers) for noun, numbers in counts.items()},
    }


def count_different(cases: Sequence[Groups]) -> dict[str, int]:
    """Return noun -> how many different ones the cases have: sets, if a case has several members, and their members.

    A set has no order, so that two cases with the same adapters have the same one. Unnamed adapters are no members.
    """
    sets = {frozenset(groups) for groups in cases}
    counts = {population: len(members) for population, members in members_of(cases).items()}
    return ({"set": len(sets)} if any(len(members) > 1 for members in sets) else {}) | counts


def _names(themes: Collection[str]) -> Callable[[str], int]:
    """Return the function from a prompt to the number of themes in it, as whole words, in the singular or plural."""
    patterns = [re.compile(rf"\b{re.escape(theme)}s?\b", re.IGNORECASE) for theme in themes]
    return lambda prompt: sum(bool(pattern.search(prompt)) for pattern in patterns)


def _distribution(numbers: Sequence[int]) -> dict[str, int]:
    """Return number -> how many cases have it, the largest number first."""
    return {str(number): cases for number, cases in sorted(Counter(numbers).items(), reverse=True)}
