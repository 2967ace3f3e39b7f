"""What cases consist of: different members, and what is unseen in each."""

from autolora.experiments.cases import CandidateAdapter
from studies.case_counts import NAMED, TEST_SPLIT, UNTRAINED, StudyCase, count_different, describe_cases


def adapter(sha256: str, theme: str | None, unseen: bool) -> CandidateAdapter:
    return CandidateAdapter(
        sha256=sha256, family=sha256, unseen=unseen, kind=None, theme=theme, renderings=(),
        captions_by_rendering=(), trigger_words=(),
    )  # fmt: skip


ADAPTERS = {
    one.sha256: one
    for one in (adapter("a", "cat", True), adapter("b", "ink", True), adapter("c", "cat", False),
                adapter("d", "stained glass", False))
}  # fmt: skip
TRAINED = {"cat", "stained glass"}


def case(*names: str) -> StudyCase:
    return StudyCase(groups=tuple(("adapter", name) for name in names), adapters=names, prompt="")


def test_a_set_counts_once_in_whatever_order_it_is_drawn() -> None:
    cases = [tuple(("adapter", name) for name in names) for names in ("ab", "ba", "ac")]
    assert count_different(cases) == {"set": 2, "adapter": 3}
    pair = (("object", "cat"), ("style", "crayon"))
    assert count_different([pair, pair]) == {"set": 1, "object": 1, "style": 1}
    assert count_different([(("prompt", "a cat"),), (("prompt", "a dog"),)]) == {"prompt": 2}


def test_unseen_adapters_and_themes_are_counted_per_case() -> None:
    cases = [case(*names) for names in ("ab", "ac", "bd", "cd")]
    assert describe_cases(cases, ADAPTERS, TRAINED) == {
        "different": {"set": 4, "adapter": 4},
        "per case": {TEST_SPLIT: {"2": 1, "1": 2, "0": 1}, UNTRAINED: {"1": 2, "0": 2}},
    }


def test_adapters_without_judged_themes_have_no_count_of_them() -> None:
    unknown = {"a": adapter("a", None, True), "b": adapter("b", None, False)}
    described = describe_cases([case("a", "b")], unknown, set())
    assert described["per case"] == {TEST_SPLIT: {"1": 1}}


def test_prompts_without_adapters_name_themes_as_words() -> None:
    prompts = ["two Cats in stained glass", "a catalog of inks", "a thinking dog"]
    cases = [StudyCase(groups=(("prompt", text),), adapters=(), prompt=text) for text in prompts]
    described = describe_cases(cases, ADAPTERS, TRAINED)
    assert described == {"different": {"prompt": 3}, "per case": {NAMED: {"2": 1, "1": 1, "0": 1}}}
