"""The parts of a prompt: every word is in one, and what may be asked for is one."""

import random
import re

import pytest

from autolora.matching.parts import MAX_WORDS, STOP_WORDS, split_parts, split_runs

WORDS = (
    "neon",
    "Cat",
    "it's",
    "“The”",
    "and",
    "OF",
    "a",
    "水墨画",
    "été",
    "e\u0301",
    "😀",
    "—",
    "<b>",
    "x" * 99,
    "\u200b",
)
ENDS = (" ", " ", " ", " ", "  ", "\t", "\u00a0", ", ", ".", "\n", " | ", " #", "(", ")", "!?", ": ")


def prompts(count: int) -> list[str]:
    """Return random prompts of up to 40 words."""
    rng = random.Random(0)
    return [
        "".join(rng.choice(WORDS) + rng.choice(ENDS) for _ in range(rng.randint(0, 40))) for _ in range(count)
    ]


def test_every_word_is_in_a_part_and_every_part_is_in_the_prompt() -> None:
    for prompt in prompts(500):
        parts, runs = split_parts(prompt), split_runs(prompt)
        clauses = [" ".join(text.split()) for text in re.split(r"[.,;:!?()\[\]{}\n|#]", prompt)]
        assert {word for part in parts for word in part.split()} == set(" ".join(clauses).split())
        assert all(any(f" {part} " in f" {clause} " for clause in clauses) for part in parts)
        assert len(set(parts)) == len(parts) and set(runs) <= set(parts)
        assert not any(word.lower().strip("“”") in STOP_WORDS for run in runs for word in run.split())
        assert all(len(part.split()) <= MAX_WORDS for part in parts if part not in runs)


@pytest.mark.parametrize("count", range(1, 30))
def test_windows_of_a_long_clause_overlap_by_half(count: int) -> None:
    """Any five neighbors are together in a window, whatever stands around them."""
    words = [f"the{n}" if n % 3 else "the" for n in range(count)]
    parts = [f" {part} " for part in split_parts(" ".join(words))]
    fives = [f" {' '.join(words[start : start + 5])} " for start in range(max(1, count - 4))]
    assert all(any(five in part for part in parts) for five in fives)
    assert max(len(part.split()) for part in parts) == min(count, MAX_WORDS)


@pytest.mark.parametrize(
    ("prompt", "parts", "runs"),
    [
        ("a neon cat", ["a neon cat", "neon cat", "neon", "cat"], ["neon cat"]),
        ("Neon; NEON", ["Neon", "NEON"], ["Neon", "NEON"]),
        ("neon, of a cat.", ["neon", "of a cat", "cat"], ["neon", "cat"]),
        ('"neon" cat "of" sea', ['"neon" cat "of" sea', '"neon" cat', '"neon"', "cat", "sea"], ['"neon" cat', "sea"]),
        ("a red ox by the sea", ["a red ox by the sea", "red ox", "red", "ox", "sea"], ["red ox", "sea"]),
        ("the of and", ["the of and"], []),
        ("", [""], []),
        (" ?!", [""], []),
        ("a sea without any neon cat, no ox", ["a sea", "sea"], ["sea"]),
        ("not in neon style", ["style"], []),
        ("No cat", [""], []),
        (
            " ".join("abcdefghjkl"),
            ["a b c d e f g h", "e f g h j k l", "b c d e f g h j k l", "b", "l", "b c", "k l"],
            ["b c d e f g h j k l"],
        ),
        ("neon cat #art #sea", ["neon cat", "neon", "cat", "art", "sea"], ["neon cat", "art", "sea"]),
    ],
)  # fmt: skip
def test_clauses_runs_and_words_are_parts(prompt: str, parts: list[str], runs: list[str]) -> None:
    assert (list(split_parts(prompt)), list(split_runs(prompt))) == (parts, runs)
