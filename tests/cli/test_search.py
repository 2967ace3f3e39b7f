"""`autolora search`: filters, reasons, and the selection."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from autolora.cli import app
from autolora.encoder.tags import describe_tags
from autolora.index.conditions import FILTER_COLUMNS
from autolora.index.tags import read_tags
from autolora.params import Params
from tests.cli.commands import run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", "012"),
        ("--license|it's free", "0"),
        ("--license|it's free|--license|mit", "01"),
        ("--may-sell", "0"),
        ("--derivatives", "0"),
        ("--nsfw", "1"),
        ("--no-nsfw", "02"),
        ("--person", "1"),
        ("--no-person", "0"),
        ("--where|person IS NOT TRUE", "02"),
        ("--base|flux.1-krea", "1"),
        ("--max-rank|4", "012"),
        ("--max-rank|3", ""),
        ("--max-mb|0.001", "012"),
        ("--max-mb|0.000999", ""),
        ("--hub|civitai", "0"),
        ("--hub|civitai|--hub|huggingface", "012"),
        ("--since|2026-01-02", "1"),
        (f"--family|{'0' * 64}", ""),
        ("--no-nsfw|--where|license = 'mit' OR license IS NULL", "2"),
        ("--where|commercial|--where|nsfw", ""),
        ("--where|commercial|--where|NOT nsfw", "0"),
    ],
)
def test_options_of_a_search_restrict_its_hits(
    options: str, found: str, searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searchable)
    arguments = ["search", "a drawing", "-k", "3", *filter(None, options.split("|"))]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert sorted(hit["id"].split("/")[0].removeprefix("author") for hit in json.loads(result.stdout)) == [
        *found
    ]
    printed = " ".join(CliRunner().invoke(app, arguments, env={"COLUMNS": "300"}).output.split())
    assert (f"{len(found)} of 3 adapters pass the filter" in printed) == bool(options)


def test_a_wrong_filter_of_a_search_is_an_error(searchable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(searchable)
    result = CliRunner().invoke(app, ["search", "a drawing", "--where", "lisence = 'mit'"])
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "FilterError: the filter `lisence` is not a column (did you mean 'license'?); a text is set in single"
    )


def test_search_prints_reasons_on_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(root, monkeypatch, "search", "a neon drawing", "-k", "2")
    assert "nearest captions" not in plain
    text = run(root, monkeypatch, "search", "a neon drawing", "-k", "2", "--reasons")
    assert text.startswith(plain)
    reasons = text.removeprefix(plain)
    assert len(re.findall(r"(?m)^author\d/neon$", reasons)) == 2
    for label in ("cosines", "nearest captions", "matched words"):
        assert reasons.count(label) == 2
    assert "1.000 a neon drawing" in reasons


def test_json_of_a_search_has_reasons(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = json.loads(run(root, monkeypatch, "search", "a neon drawing", "-k", "1", "--json"))
    assert row["reasons"]["words"] == ["neon", "drawing"]


def test_auto_prints_the_selection(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = json.loads(run(spoken, monkeypatch, "search", "a neon drawing", "-k", "auto", "--json"))
    assert len(selection) <= 3 and all(hit["relevance"] >= 0.6 for hit in selection)
    params = (spoken / "params.yaml").read_text()
    (spoken / "params.yaml").write_text(params.replace("min_relevance: 0.6", "min_relevance: 1.0"))
    first, *nearest, unsure, advice = run(
        spoken, monkeypatch, "search", "a neon drawing", "-k", "auto"
    ).splitlines()
    assert first == "no adapter fits the prompt; the nearest:"
    assert (
        re.fullmatch(r"  \w+:author\d/neon, relevance [01]\.\d\d for: .*", nearest[0]) and len(nearest) == 3
    )
    assert unsure.strip() == "use those that may fit: `autolora generate --unsure`"
    assert "`autolora generate -k 1`" in advice and "`--adapter NAME`" in advice
    (spoken / "params.yaml").write_text(params)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--license", "MIT"],
            "the license 'MIT' (did you mean 'mit'?); those of the index are it's free, mit",
        ),
        (
            ["--license", "mit", "--base", "flux1-krea"],
            "the base 'flux1-krea' (did you mean 'flux.1-krea'?)",
        ),
        (["--family", f"{'0' * 62}12"], "`autolora show NAME` prints that of an adapter"),
        (["--hub", "hugingface"], "no adapter has the hub 'hugingface' (did you mean 'huggingface'?)"),
        (["--license", "mit"], ""),
    ],
)
def test_a_value_that_no_adapter_has_is_named(
    options: list[str], message: str, searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searchable)
    result = CliRunner().invoke(app, ["search", "a drawing", *options, "--json"])
    assert result.exit_code == 0 and isinstance(json.loads(result.stdout), list)
    assert (message in result.stderr) if message else result.stderr == ""


def test_json_of_a_search_has_every_column_that_a_filter_can_name(
    searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = json.loads(run(searchable, monkeypatch, "search", "a drawing", "-k", "3", "--json"))
    by_license = {row["license"]: row for row in rows}
    assert all(set(FILTER_COLUMNS) <= row.keys() for row in rows)
    assert by_license["mit"]["first_seen"] == "2026-01-02" and by_license["mit"]["commercial"] is False
    assert by_license[None]["person"] is None and by_license["it's free"]["base"] == "flux.1-dev"


def test_each_hit_says_what_it_does_by_its_author_or_its_weights(
    searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = json.loads(run(searchable, monkeypatch, "search", "a drawing", "-k", "3", "--json"))
    does = {row["sha256"]: row["does"] for row in rows}
    tags = read_tags(searchable)
    by_author = [row["sha256"] for row in rows if row["description"]]
    assert [does[sha256] for sha256 in by_author] == ["Glass tiles · stone"]
    for sha256 in does.keys() - {*by_author}:
        likely = tuple(tag for tag in tags[sha256] if tag.is_likely)
        assert does[sha256] == (f"by the weights: {describe_tags(likely)}" if likely else None)
    table = CliRunner().invoke(app, ["search", "a drawing", "-k", "3"], env={"COLUMNS": "80"}).stdout
    assert max(map(len, table.splitlines())) <= 80
    lines = [line[18:45].strip() for line in table.splitlines()]
    assert all(line in " ".join(lines) for line in filter(None, does.values()))


@pytest.mark.slow
def test_a_prompt_that_is_not_read_to_its_end_is_named_once_and_in_short(root: Path) -> None:
    prompt = "a neon drawing of " + "many small houses and " * 40 + "zebras"
    command = [sys.executable, "-m", "autolora", "search", prompt, "-k", "1", "--json"]
    done = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert json.loads(done.stdout)
    (line,) = done.stderr.splitlines()
    assert "tokens of the text and ignores the rest, from '" in line and len(line) < 150


@pytest.fixture
def image(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image, which the model describes as a neon drawing."""

    def describe(given: Path, params: Params, opened: Image.Image) -> str:
        assert (given, opened.size) == (spoken, (8, 8))
        return "a neon drawing"

    monkeypatch.setattr("autolora.search.by_image.describe_image", describe)
    monkeypatch.chdir(spoken)
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png")
    return tmp_path / "it.png"


@pytest.mark.parametrize("options", ["-k 2 --no-nsfw --json", "-k auto", "--reasons"])
def test_a_search_by_an_image_is_one_for_the_words_of_its_caption(
    spoken: Path, image: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["search", "--image", str(image), *options.split()]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert result.stdout == run(spoken, monkeypatch, "search", "a neon drawing", *options.split())
    captioning, caption, *_ = result.stderr.splitlines()
    assert re.fullmatch(r"captioning it\.png with \S+", captioning)
    assert caption == "searching for its caption: a neon drawing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give PROMPT, or an image (--image FILE)"),
        (["a cat", "--image", "x.png"], "give either PROMPT or an image"),
        ([" "], "the prompt is empty"),
    ],
)
def test_prompt_and_image_that_contradict_each_other_are_usage_errors(
    arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["search", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and message in result.output


def test_a_file_that_is_no_image_is_an_error_before_anything_is_loaded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.png").write_text("no image")
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["search", "--image", str(tmp_path / "no.png")])
    assert result.exit_code == 1
    assert result.stderr.startswith("RefusedFile: cannot search by ") and "captioning" not in result.stderr


def test_an_image_that_does_not_exist_is_named_before_the_index_is_opened(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["search", "--image", "none.png"])
    assert result.exit_code == 1 and "none.png (No such file or directory)" in result.stderr
