"""`autolora search` and `generate` in an index with a language: groups, what no adapter answers, what filters hide."""

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MissingArtifact
from autolora.params import Params
from autolora.records import Hit
from autolora.search.retriever import Retriever
from tests.cli.commands import run

PROMPT = "a Neon whale and chalk, two monks"


def test_hits_are_printed_by_the_part_that_they_answer(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in run(spoken, monkeypatch, "search", PROMPT, "-k", "3").splitlines()]
    table, unanswered = lines[lines.index("for: Neon") : -3], lines[-2:]
    table = [line for line in table if re.match(r"for: |less likely|\d", line)]  # without what each does
    assert [re.sub(r".*(author\d/\w+).*", r"\1", line) for line in table] == [
        "for: Neon", "author1/neon", "for: chalk", "author2/chalk", "less likely", "author0/mosaic",
    ]  # fmt: skip
    unsure = [re.split(r" +", line)[1].endswith("?") for line in table[1::2]]
    assert unsure == [False, False, True]
    assert {*unanswered} == {"nothing clearly fits: whale", "nothing clearly fits: two monks"}, "none is near"


def test_a_long_part_leaves_room_for_the_other_columns(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, search = "drawing of thing 1 in the neon style", Retriever.search
    monkeypatch.setattr(
        Retriever,
        "choose",
        lambda own, text, k, where: [replace(hit, part=part) for hit in search(own, text, k)],
    )
    monkeypatch.chdir(spoken)
    output = CliRunner().invoke(app, ["search", "a neon sea", "-k", "3"], env={"COLUMNS": "80"}).output
    assert f"for: {part}" in " ".join(output.split()) and f"for: {part}" not in output
    assert re.search(r"(?m)\d\.\d{3} +\d\.\d\d +author1/neon +mit +– +[0-9a-f]{8}$", output)


def test_json_of_a_search_has_the_part_of_each_hit(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(run(spoken, monkeypatch, "search", PROMPT, "-k", "2", "--json"))
    assert [(row["id"], row["part"]) for row in rows] == [
        ("author1/neon", "Neon"),
        ("author2/chalk", "chalk"),
    ]
    (named,) = json.loads(run(spoken, monkeypatch, "search", "author2/chalk", "-k", "1", "--json"))
    assert (named["exact"], named["part"], named["relevance"]) == ("name", None, None)


def test_what_comes_nearest_is_named_if_nothing_fits(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *nearest, advice = run(spoken, monkeypatch, "search", "two monks", "-k", "auto").splitlines()
    assert first == "no adapter fits the prompt; the nearest:" and "generate -k 1" in advice
    assert len(nearest) == 3
    assert all(
        re.fullmatch(r"  \w+:author\d/\w+, relevance 0\.\d\d for: (two|monks|two monks)", line)
        for line in nearest
    )
    named = run(spoken, monkeypatch, "search", "author1", "-k", "auto").splitlines()
    assert named[1] == "  huggingface:author1/neon, named by the prompt (author author1)"


def test_what_filters_hide_is_counted(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "hidden by the filters: 1 adapter that would fit, for: neon"
    assert run(spoken, monkeypatch, "search", "neon", "--no-nsfw").splitlines()[-1] == hidden
    assert "hidden" not in run(spoken, monkeypatch, "search", "neon", "--nsfw")
    first, *lines = run(spoken, monkeypatch, "search", "neon", "--no-nsfw", "-k", "auto").splitlines()
    assert first == "no adapter fits the prompt; 2 of 3 adapters pass the filter; the nearest:"
    assert f"  {hidden}" in lines and not any("--unsure" in line for line in lines)


def test_unsure_adapters_are_offered_and_chosen_on_request(
    spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = (spoken / "params.yaml").read_text()
    (spoken / "params.yaml").write_text(params.replace("min_relevance: 0.6", "min_relevance: 1.0"))
    assert "`autolora generate --unsure`" in run(spoken, monkeypatch, "search", "chalk", "-k", "auto")
    drawn: list[list[str]] = []
    module = importlib.import_module("autolora.cli.generate")

    def draw(root: Path, params: Params, request: object, hits: Sequence[Hit]) -> Image.Image:
        drawn.append([hit.id for hit in hits])
        raise MissingArtifact("nothing is drawn")

    monkeypatch.setattr(module, "_draw", draw)
    for options in ([], ["--unsure"]):
        CliRunner().invoke(app, ["generate", "chalk", *options])
    assert drawn == [[], ["author2/chalk"]]
    (spoken / "params.yaml").write_text(params)


@pytest.mark.parametrize("options", [["-k", "2"], ["--adapter", "author2/chalk"]])
def test_unsure_is_a_usage_error_beside_what_is_certain(spoken: Path, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["generate", "chalk", "--unsure", *options], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and "give either --unsure, or adapters, or -k" in result.output
