"""Facts of headers: known fields only, cleaned, short and without private paths."""

import json

import pytest

from autolora.hubs.folder.header_facts import MAX_CHARS, MAX_TAGS, MAX_WORDS, read_facts
from autolora.hubs.validation import is_private


def test_known_fields_are_kept_and_others_left_out() -> None:
    facts = read_facts(
        {
            "modelspec.title": "Ink",
            "modelspec.trigger_phrase": "inkwsh style, inkwsh",
            "ss_network_dim": "16",
            "ss_learning_rate": "None",
            "ss_training_comment": "for Ann",
            "ss_dataset_dirs": '{"/home/ann/ink": {}}',
        }
    )
    assert facts.description == {"title": "Ink"}
    assert facts.trigger_words == ("inkwsh style", "inkwsh")
    assert facts.training == {"rank": "16"}
    assert facts.private_fields == 0
    assert "ann" not in repr(facts).lower()


@pytest.mark.parametrize(
    "value",
    [
        r"C:\Users\ann\flux.safetensors",
        "D:/models/flux.safetensors",
        "/home/ann/flux.safetensors",
        "/mnt/data/flux.safetensors",
        "trained on /workspace/ann/ink",
        "~/loras/ink",
        'images="/data/ann/ink"',
        "dir=/home/ann/ink",
        r"\\server\share\ink",
        "file:///home/ann",
    ],
)
def test_value_with_a_path_is_left_out_and_counted(value: str) -> None:
    facts = read_facts({"ss_sd_model_name": value, "modelspec.description": value})
    assert (facts.training, facts.description, facts.private_fields) == ({}, {}, 2)


@pytest.mark.parametrize(
    "value",
    [
        "flux-1-dev/lora",
        "https://civitai.com/models/1",
        "ink and/or pen",
        "16:9",
        "3/4 view",
        "《ink》/《pen》/",
        "(ink)/(pen)/(brush)",
        "a: b",
        "50 % / 2",
    ],
)
def test_other_text_is_no_path(value: str) -> None:
    assert not is_private(value)


def test_texts_are_bounded_and_printable() -> None:
    facts = read_facts(
        {
            "modelspec.title": "a\x1b[31m red\u202e" + "x" * 10_000,
            "modelspec.trigger_phrase": ",".join(map(str, range(1000))),
        }
    )
    assert facts.description["title"].startswith("a [31m red x") and facts.description["title"].isprintable()
    assert len(facts.description["title"]) == MAX_CHARS
    assert len(facts.trigger_words) == MAX_WORDS


def test_most_frequent_tags_of_all_folders() -> None:
    counts = {
        "10_ink": {"ink": 20, "cat": 5, "C:\\x": 90},
        "1_more": {"cat": 30, "bad": True, "worse": "9", "none": 0},
    }
    counts["2_many"] = {f"tag{i}": 1 for i in range(100)}
    tags = read_facts({"ss_tag_frequency": json.dumps(counts)}).tags
    assert list(tags.items())[:2] == [("cat", 35), ("ink", 20)]
    assert len(tags) == MAX_TAGS and not {"C:\\x", "bad", "worse", "none"} & set(tags)


def test_single_tag_counted_once_is_the_trigger_word_of_ai_toolkit() -> None:
    info = {"step": 2000, "epoch": 3, "path": "/home/ann/x"}
    facts = read_facts({"ss_tag_frequency": '{"1_ink": {"ink": 1}}', "training_info": json.dumps(info)})
    assert (facts.trigger_words, facts.tags) == (("ink",), {})
    assert facts.training == {"steps": "2000", "epoch": "3"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '{"a": {"b": {"c": 1}}}', "[" * 100_000, "NaN"])
def test_invalid_tags_are_ignored(text: str) -> None:
    facts = read_facts({"ss_tag_frequency": text, "training_info": text})
    assert (facts.tags, facts.trigger_words, facts.training) == ({}, (), {})
