"""The parts of a prompt: every word is in one, and what may be asked for is one."""

import random
import re
import time

import pytest

from autolora.matching.parts import (
    MAX_WORDS,
    STOP_WORDS,
    negated_runs,
    run_shares,
    split_parts,
    split_runs,
    wanted_text,
)

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


def test_each_word_of_three_is_a_part() -> None:
    parts = split_parts("a neon watercolor duck")
    shares = dict(zip(parts, run_shares("a neon watercolor duck", parts), strict=True))
    assert [round(3 * shares[word]) for word in ("neon", "watercolor", "duck", "neon watercolor")] == [
        1,
        1,
        1,
        2,
    ]
    assert "green" not in split_parts("red green blue tea")


@pytest.mark.parametrize(
    ("prompt", "runs", "negated"),
    [
        ("ball\nNegative prompt: cat, (sea), neon\nSteps: 28, Sampler: Euler", ["ball"], ["cat", "sea", "neon"]),
        ("ball Negative prompt: worst cat. Steps: 28, Sampler: Euler", ["ball"], ["worst cat"]),
        ("Negative prompt: cat", [], ["cat"]),
        ("a ball --no mosaic, neon sign --ar 3:2", ["ball"], ["mosaic", "neon sign"]),
        ("ball, (neon sign:0), (red:0.0), cat:-1, sea", ["ball", "sea"], ["neon sign", "red", "cat"]),
        ("(ball:1.2), (sea:0.5), at 12:00, 10:05", ["ball", "sea", "12", "00", "10", "05"], []),
        ("a ball instead of the duck", ["ball"], ["duck"]),
        ("neither cat nor duck, but ball", ["ball"], ["cat", "duck"]),
        ("avoid neon", [], ["neon"]),
        ("a cat, no snow or neon", ["cat"], ["snow", "neon"]),
        ("a duck, but no snow, neon, or mosaic tiles", ["duck"], ["snow", "neon", "mosaic tiles"]),
        ("a duck, but no snow nor a mosaic, ball", ["duck", "ball"], ["snow", "mosaic"]),
        ("no humans, scenery, sky", ["scenery", "sky"], ["humans"]),
        ("a cat, no snow, a ball or boat", ["cat", "ball", "boat"], ["snow"]),
        ("a city without people and cars", ["city"], ["people", "cars"]),
        ("a house without a door and a window", ["house"], ["door", "window"]),
        ("a man without a hat and blue eyes", ["man", "blue eyes"], ["hat"]),
        ("a red, green or blue ball", ["red", "green", "blue ball"], []),
        ("don't draw a cat; a sea that isn’t blue", ["sea"], ["cat", "blue"]),
        ("anything but a cat", [], ["cat"]),
        ("nothing but snow", ["snow"], []),
        ("a cat-free city, no-neon", ["city"], ["cat", "neon"]),
        ("no-one, free hands", ["no-one", "free hands"], []),
        ("never mind the cat, a duck free of neon", ["duck"], ["cat", "neon"]),
        ("not only a cat but also a duck", ["cat", "duck"], []),
        ("why not a cat", ["cat"], []),
        ("<lora:anime-v2:0.8> a cat", ["cat"], []),
        ("a crown that is not a drawing but pixel art", ["crown", "pixel art"], []),
        ("not clay but pixel art", ["pixel art"], ["clay"]),
        ("don't forget the snow; don't make it without neon", ["snow", "neon"], []),
        ("a rocket that doesn't stand in snow", ["rocket"], ["snow"]),
        ("a cat who never wears a crown in a city", ["cat", "city"], ["crown"]),
        ("a cat that isn't in snow", ["cat"], ["snow"]),
        ("a bird that doesn't fly", ["bird"], ["fly"]),
        ("zero snow, hardly any neon. I hate ducks", [], ["snow", "neon", "ducks"]),
        ("cat -duck, -ball", ["cat", "-ball"], ["duck"]),
        ("no one but a cat, none other than a duck", ["cat", "none", "duck"], []),
        ("no, cat or dog", ["cat", "dog"], []),
        ("no", [], []),
        ("cat not", ["cat"], []),
    ],
)  # fmt: skip
def test_what_a_prompt_excludes_asks_for_nothing(prompt: str, runs: list[str], negated: list[str]) -> None:
    assert (list(split_runs(prompt)), list(negated_runs(prompt))) == (runs, negated)


@pytest.mark.parametrize(
    "tags",
    ["masterpiece", "Best quality, 8K UHD", "score_9, score_8_up", "ultra-detailed", "4k resolution, HDR"],
)
def test_tags_of_quality_are_no_parts_and_end_runs(tags: str) -> None:
    assert (split_parts(tags), split_runs(tags)) == (("",), ())
    assert split_runs(f"neon cat {tags} red ball") == ("neon cat", "red ball")


def test_words_that_only_resemble_tags_stay() -> None:
    prompt = "a quality inspector in the 4kids shop; details of moss"
    assert split_runs(prompt) == ("quality inspector", "4kids shop", "details", "moss")


def test_long_prompts_are_read_in_time() -> None:
    started = time.perf_counter()
    for text in ("word " * 4000, "a:0" * 4000, "--no " * 4000, "negative prompt: " * 2000):
        split_parts(text)
    assert time.perf_counter() - started < 5


def test_the_wanted_text_is_the_prompt_unless_it_negates() -> None:
    for prompt in ("a cat, masterpiece; (sea:1.2)", "", "not only a cat"):
        assert wanted_text(prompt) == prompt
    assert wanted_text("a (red) cat in no snow or neon, please") == "a, red, cat in, please"
    assert wanted_text("no cat") == ""
