"""Prompt cases of small hand-written sets of candidate adapters."""

from collections import Counter
from dataclasses import replace

import numpy as np

from autolora.experiments.cases import (
    CandidateAdapter,
    draw_cases,
    draw_pairs,
    pair_prompt_parts,
)


def candidate(
    number: int, kind: str | None, theme: str | None, unseen: bool = False, **fields: object
) -> CandidateAdapter:
    adapter = CandidateAdapter(
        sha256=f"{number:064x}", family=f"family {number}", unseen=unseen, kind=kind, theme=theme,
        renderings=("image",), captions_by_rendering=((f"a picture of a {theme} thing", f"a {theme} thing"),),
        trigger_words=(f"word{number}",),
    )  # fmt: skip
    return replace(adapter, **fields)  # type: ignore[arg-type]


def objects_and_styles() -> list[CandidateAdapter]:
    """Return three objects, two of them unseen, and three styles, one of them unseen."""
    objects = [candidate(n, "object", t, unseen=n < 2) for n, t in enumerate(["cat", "rocket", "cat"])]
    styles = [candidate(n, "style", t, unseen=n == 4) for n, t in enumerate(["neon", "mosaic", "neon"], 3)]
    return objects + styles


def test_pairs_join_object_and_style_and_use_unseen_adapters_first() -> None:
    pairs = draw_pairs(objects_and_styles(), 6, np.random.default_rng(0))
    assert all((first.kind, second.kind) == ("object", "style") for first, second in pairs)
    unseen = [first.unseen + second.unseen for first, second in pairs]
    assert unseen == sorted(unseen, reverse=True)
    assert unseen[:2] == [2, 2]
    assert {first.theme for first, _ in pairs[:2]} == {"cat", "rocket"}
    assert len({(first.sha256, second.sha256) for first, second in pairs}) == 6


def test_pairs_without_kinds_join_different_families_once() -> None:
    adapters = [candidate(n, None, None, family="shared" if n < 2 else f"family {n}") for n in range(4)]
    pairs = draw_pairs(adapters, 20, np.random.default_rng(0))
    assert all(first.family != second.family for first, second in pairs)
    counts = Counter(frozenset((first.sha256, second.sha256)) for first, second in pairs)
    assert len(counts) == 5
    assert set(counts.values()) == {1}


def test_cases_depend_on_the_seed_and_not_on_the_order_of_candidates() -> None:
    cases = draw_cases(objects_and_styles(), 4, 0)
    assert cases == draw_cases(objects_and_styles()[::-1], 4, 0)
    assert cases != draw_cases(objects_and_styles(), 4, 1)


def test_each_pair_has_its_cases_and_each_adapter_one_single_case() -> None:
    cases = draw_cases(objects_and_styles(), 4, 0)
    scenarios = Counter(case.scenario for case in cases)
    assert scenarios["pair"] == scenarios["unrelated"] == 4
    single = [case.adapters for case in cases if case.scenario == "single"]
    assert len(single) == len(set(single))
    themes = {adapter.sha256: adapter.theme for adapter in objects_and_styles()}
    for case in cases:
        requested = [theme in case.prompt for theme in map(themes.get, case.adapters)]
        assert all(requested) if case.scenario != "unrelated" else not any(requested)


def test_adapters_without_renderings_or_captions_are_skipped() -> None:
    incomplete = [
        candidate(0, "object", "cat", captions_by_rendering=()),
        candidate(1, "style", "neon", renderings=()),
    ]
    assert draw_cases(incomplete, 2, 0) == []
    assert draw_cases([], 2, 0) == []


def test_pair_prompt_names_both_adapters() -> None:
    adapters = objects_and_styles()
    parts = pair_prompt_parts(adapters[1], adapters[4], adapters, np.random.default_rng(0))
    assert parts == ("a rocket thing", "word1", "mosaic", "word4")
