"""The text that a prompt becomes: trigger words, and what the text encoders read of it."""

import re
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from autolora.generation.images import Generator, add_trigger_words, describe_cut, generate, generate_images
from autolora.generation.provenance import describe_provenance
from autolora.records import Hit
from tests.generation.drawing import PARAMS, PROMPT


@pytest.mark.parametrize(("trigger_words", "text"), [(True, f"{PROMPT}, zzz"), (False, PROMPT)])
def test_image_is_of_the_text_that_the_provenance_states(
    generator: Generator, hits: list[Hit], trigger_words: bool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def record(pipeline: Any, texts: list[str], *rest: Any) -> list[Image.Image]:
        prompts.extend(texts)
        return generate_images(pipeline, texts, *rest)

    monkeypatch.setattr("autolora.generation.images.generate_images", record)
    params = replace(PARAMS, trigger_words=trigger_words)
    provenance = generate(generator, PROMPT, hits, method="direct", seed=5, params=params).provenance
    assert prompts == [provenance["text"]] == [text] and provenance["prompt"] == PROMPT
    description = describe_provenance(provenance)
    assert description.get("prompt with trigger words") == (text if trigger_words else None)


def test_only_the_first_trigger_word_of_an_adapter_is_added_if_it_is_missing(hits: list[Hit]) -> None:
    first, second = (
        replace(hit, trigger_words=words) for hit, words in zip(hits, (("Inky", "b"), ("aa",)), strict=True)
    )
    assert add_trigger_words("a cat", [first, second]) == "a cat, Inky, aa"
    assert add_trigger_words("a cat", [second, first]) == "a cat, Inky, aa"
    assert add_trigger_words("an inky cat", [first, first]) == "an inky cat"
    assert add_trigger_words("a cat", []) == "a cat"
    subtracted, inactive = replace(first, strength=-1.0), replace(second, strength=0.0)
    assert add_trigger_words("a cat", [subtracted, inactive]) == "a cat"


def test_what_text_encoders_do_not_read_of_a_prompt_is_named(
    generator: Generator,
) -> None:
    assert describe_cut(generator.pipeline, PROMPT, PARAMS) == []
    sentences = describe_cut(generator.pipeline, "cat " * 500 + "zebra", PARAMS)
    quoted = r"tokens of the text and ignores the rest, from 'cat cat cat cat cat' on"
    assert [re.fullmatch(rf"(\w+) reads \d+ {quoted}", text)[1] for text in sentences] == ["CLIP", "T5"]  # type: ignore[index]
