"""`autolora generate`: names with strengths, and the default name of the image."""

from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from autolora.cli import app
from autolora.cli.generate import _parse_adapter, _slug
from autolora.index.names import AdapterNames
from autolora.records import Hit
from autolora.search.retriever import strengthen

NAMES = AdapterNames(
    [
        {"sha256": "a" * 64, "hub": "huggingface", "id": "x/y", "file": "1.st"},
        {"sha256": "b" * 64, "hub": "civitai", "id": "618692", "file": "2.st"},
    ]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x/y", ("x/y", 1.0)),
        ("x/y:0.8", ("x/y", 0.8)),
        ("huggingface:x/y", ("huggingface:x/y", 1.0)),
        ("huggingface:x/y:-1", ("huggingface:x/y", -1.0)),
        ("civitai:618692", ("civitai:618692", 1.0)),
        ("civitai:618692:0.8", ("civitai:618692", 0.8)),
        ("618692:2", ("618692", 2.0)),
        ("civitai:999999", ("civitai:999999", 1.0)),
        ("unknown:0.8", ("unknown:0.8", 1.0)),
        (":0.5", (":0.5", 1.0)),
        ("", ("", 1.0)),
    ],
)
def test_strength_follows_the_name_of_an_adapter(text: str, expected: tuple[str, float]) -> None:
    assert _parse_adapter(text, NAMES) == expected


@pytest.mark.parametrize("number", ["nan", "inf", "strong", "", "80", "-4.1"])
def test_a_strength_that_is_not_a_number_is_a_usage_error(number: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"'{number}' in 'x/y:{number}' is not a strength"):
        _parse_adapter(f"x/y:{number}", NAMES)


@pytest.mark.parametrize(("strength", "words"), [(0.5, ("zzz",)), (0.0, ()), (-1.0, ())])
def test_an_adapter_that_adds_nothing_has_no_words_for_the_prompt(
    strength: float, words: tuple[str, ...]
) -> None:
    hit = Hit(
        rank=1, score=0.5, relevance=None, sha256="a" * 64, hub="civitai", id="7", file="x", license=None,
        nsfw=False, trigger_words=("zzz",), index="i",
    )  # fmt: skip
    assert strengthen(hit, strength) == replace(hit, strength=strength, trigger_words=words)


def test_file_names_keep_letters_of_all_scripts() -> None:
    assert _slug("Grüße, 猫!") == "grüße-猫" and _slug("???") == "image"


@pytest.mark.parametrize("number", ["4", "-4", "0"])
def test_a_strength_within_the_bounds_is_accepted(number: str) -> None:
    assert _parse_adapter(f"x/y:{number}", NAMES) == ("x/y", float(number))


def test_an_unknown_method_is_a_usage_error_that_lists_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["generate", "a cat", "--method", "gatted"], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert "no method of fusion 'gatted' (did you mean 'gated'" in result.output
    assert "give one of direct, gated" in result.output and "Value error" not in result.output


@pytest.mark.parametrize("options", [["-k", "101"], ["--adapter", "x/y"] * 101])
def test_more_adapters_than_act_together_are_a_usage_error(options: list[str]) -> None:
    result = CliRunner().invoke(app, ["generate", "a cat", *options], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert "100" in result.output and ("-k" in result.output or "at most" in result.output)
