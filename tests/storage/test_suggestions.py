"""Suggestions for names that nothing has."""

import time

import pytest

from autolora.storage.suggestions import did_you_mean, similar_names

IDS = ("bytebrush/the-beala-thing", "lumen9/msc-flux", "oskarprints/just-ct")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bytebrush/the-beala-thin", ["bytebrush/the-beala-thing"]),
        ("the-beala-thing", ["bytebrush/the-beala-thing"]),
        ("Lumen9/MSC-flux", ["lumen9/msc-flux"]),
        ("lumen9/mcs-flux", ["lumen9/msc-flux"]),
        ("ct", []),
        ("", []),
        ("quite another name", []),
    ],
)
def test_similar_names_are_found_in_any_case(name: str, found: list[str]) -> None:
    assert similar_names(name, IDS) == found


def test_a_suggestion_is_the_end_of_a_message() -> None:
    assert did_you_mean("MIT", ["mit", "apache-2.0"]) == " (did you mean 'mit'?)"
    assert did_you_mean("abcd", ["abcde", "abcdef", "xyz"]) == " (did you mean 'abcde' or 'abcdef'?)"
    assert did_you_mean("zzz", ["mit"]) == ""


def test_fainter_names_count_only_if_none_is_close() -> None:
    assert similar_names("flux1-krea", ["flux.1-dev", "flux.1-krea"]) == ["flux.1-krea"]
    assert similar_names("lisence", ["license", "hub"]) == ["license"]


@pytest.mark.slow
def test_thirty_thousand_names_are_compared_in_seconds() -> None:
    names = [f"author{number % 977}/style-{number}-flux" for number in range(30_000)]
    started = time.process_time()
    assert similar_names("autor1/stile-978-flux", names)
    assert time.process_time() - started < 5
