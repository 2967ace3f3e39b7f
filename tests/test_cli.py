"""The command line: wrong arguments, filters and reasons of a search, captions in `show`, and a closed pipe."""

import datetime
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autolora.cli import app
from autolora.cli.generate import _parse_adapter, _slug
from autolora.cli.search import _strengthen
from autolora.index.names import AdapterNames
from autolora.index.store import SCHEMA
from autolora.records import Hit, Permissions
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    make_adapter,
    make_adapters,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

ROOT = Path(__file__).parents[1]
ADAPTER = make_adapter("mosaic", 0)
NAMES = AdapterNames(
    [
        {"sha256": "a" * 64, "hub": "huggingface", "id": "x/y", "file": "1.st"},
        {"sha256": "b" * 64, "hub": "civitai", "id": "618692", "file": "2.st"},
    ]
)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_closed_pipe_ends_command_with_sigpipe(tmp_path: Path, options: list[str]) -> None:
    write_repository(tmp_path, [ADAPTER])
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "autolora", "show", ADAPTER.listing.id, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (-signal.SIGPIPE, "")


def test_versions_are_the_commits_that_a_search_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    git, digest = ["git", "-c", "user.name=t", "-c", "user.email=t@t"], tmp_path / "digests/index.json"
    digest.parent.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for schema in (SCHEMA - 1, SCHEMA):
        digest.write_text(json.dumps({"rows": 7, "schema": schema, "content": f"{schema:064}"}))
        subprocess.run(["git", "add", "digests"], cwd=tmp_path, check=True)
        subprocess.run([*git, "commit", "-q", "-m", f"layout {schema}"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["versions", "--json"])
    (commit,) = json.loads(result.stdout)["commits"]
    assert (commit["subject"], commit["index"], commit["rows"]) == (f"layout {SCHEMA}", f"{SCHEMA:064}", 7)
    printed = CliRunner().invoke(app, ["versions"]).stdout
    assert f"layout {SCHEMA}" in printed and f"layout {SCHEMA - 1}" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", " "], "the prompt is empty"),
        (["search", "caf\udcff"], "the prompt is not valid UTF-8"),
        (["generate", "caf\udcff"], "the prompt is not valid UTF-8"),
        (["generate", ""], "the prompt is empty"),
        (["generate", "a cat", "-o", "README.md/cat.png"], "not a folder that can be written"),
        (["generate", "a cat", "--adapter", "x/y", "-k", "2"], "give either adapters, or -k and --where"),
        (["search", "a cat", "--max-mb", "inf"], "should be less than or equal to"),
        (["generate", "a cat", "-k", "0", "--rev", "v1"], "-k 0 searches no index, so --rev has no effect"),
        (
            ["generate", "a cat", "-k", "0", "--where", "nsfw"],
            "-k 0 searches no index, so --where has no effect",
        ),
        (["search", "a cat", "-k", "0"], "neither a number from 1 nor auto"),
        (["search", "a cat", "-k", "some"], "neither a number from 1 nor auto"),
        (["generate", "a cat", "-o", "cat.jpg"], "a file that ends in .png"),
        (["show", "cat.png", "--captions"], "is for adapters, not for images"),
    ],
)
def test_wrong_argument_is_a_usage_error(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2 and message in result.output


@pytest.fixture(scope="module")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with an index of three adapters: 0 and 1 differ in all that is filtered by; 2 is unknown."""
    root = tmp_path_factory.mktemp("searchable")
    known = {
        "license": "it's free", "permissions": Permissions(commercial=True, derivatives=True), "nsfw": False,
        "person": False, "base": "flux.1-dev", "hub": "civitai",
    }  # fmt: skip
    opposite = {
        "license": "mit", "permissions": Permissions(commercial=False, derivatives=False), "nsfw": True,
        "person": True, "base": "flux.1-krea",
    }  # fmt: skip
    later = DAY + datetime.timedelta(days=1)
    adapters = [
        make_adapter("mosaic", 0, **known),
        make_adapter("neon", 1, later, **opposite),
        make_adapter("chalk", 2, license=None),
    ]
    write_repository(root, adapters)
    write_dataset(root, replace(DATASET, test_share=0.0))
    write_encoder(root, tiny_text_encoder(root / "pipeline"))
    write_index(root)
    lines = (ROOT / "params.yaml").read_text().splitlines()
    lines = ["  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in lines]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    shutil.copy(ROOT / "dvc.yaml", root)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with an index in which the first image of author0/mosaic has captions of another adapter."""
    root = tmp_path_factory.mktemp("root")
    text_encoder = tiny_text_encoder(root / "flux")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(root, text_encoder, adapters)
    write_hybrid(root, text_encoder, [with_captions_of(adapters[0], adapters[-1], images=1), *adapters[1:]])
    params = (ROOT / "params.yaml").read_text()
    (root / "params.yaml").write_text(re.sub(r"(?m)^  pipeline: \S+", f"  pipeline: {root / 'flux'}", params))
    shutil.copy(ROOT / "dvc.yaml", root)
    return root


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
    assert sorted(hit["id"].split("/")[0].removeprefix("author") for hit in json.loads(result.output)) == [
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


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Return what a command prints."""
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_search_prints_reasons_on_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(root, monkeypatch, "search", "a neon drawing", "-k", "2")
    assert "nearest captions" not in plain
    text = run(root, monkeypatch, "search", "a neon drawing", "-k", "2", "--reasons")
    assert text.startswith(plain)
    reasons = text.removeprefix(plain)
    assert re.findall(r"(?m)^(\d)\. author\d/neon$", reasons) == ["1", "2"]
    for label in ("cosines", "nearest captions", "matched words", "largest blocks"):
        assert reasons.count(label) == 2
    assert "1.000 a neon drawing" in reasons


def test_json_of_a_search_has_reasons_and_blocks_on_request(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = json.loads(run(root, monkeypatch, "search", "a neon drawing", "-k", "1", "--json"))
    assert row["reasons"]["words"] == ["neon", "drawing"] and row["reasons"]["blocks"] is None
    (explained,) = json.loads(
        run(root, monkeypatch, "search", "a neon drawing", "-k", "1", "--json", "--reasons")
    )
    assert explained["reasons"].pop("blocks")
    del row["reasons"]["blocks"]
    assert explained == row


def test_show_compares_captions_on_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(root, monkeypatch, "show", "author0/mosaic")
    assert "captions and weights" in plain and "cosine of each caption" not in plain
    text = run(root, monkeypatch, "show", "author0/mosaic", "--captions")
    assert text.startswith(plain)
    first, *_, last = re.findall(r"a (\w+) drawing", text.removeprefix(plain))
    assert (first, last) == ("chalk", "mosaic")
    content = json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--captions", "--json"))
    rows = content["caption_agreement"]
    assert len(rows) == 4 and rows[0].keys() == {"image", "text", "weights", "others"}
    assert "caption_agreement" not in json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--json"))


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


@pytest.mark.parametrize("number", ["nan", "inf", "strong", ""])
def test_a_strength_that_is_not_a_number_is_a_usage_error(number: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"'{number}' in 'x/y:{number}' is not a strength"):
        _parse_adapter(f"x/y:{number}", NAMES)


def test_auto_prints_the_selection(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = json.loads(run(root, monkeypatch, "search", "a neon drawing", "-k", "auto", "--json"))
    assert len(selection) <= 3 and all(hit["relevance"] >= 0.6 for hit in selection)
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("min_relevance: 0.6", "min_relevance: 1.0"))
    assert run(root, monkeypatch, "search", "a neon drawing", "-k", "auto") == "no adapter fits the prompt\n"
    (root / "params.yaml").write_text(params)


@pytest.mark.parametrize(("strength", "words"), [(0.5, ("zzz",)), (0.0, ()), (-1.0, ())])
def test_an_adapter_that_adds_nothing_has_no_words_for_the_prompt(
    strength: float, words: tuple[str, ...]
) -> None:
    hit = Hit(
        rank=1, score=0.5, relevance=None, sha256="a" * 64, hub="civitai", id="7", file="x", license=None,
        nsfw=False, trigger_words=("zzz",), index="i",
    )  # fmt: skip
    assert _strengthen(hit, strength) == replace(hit, strength=strength, trigger_words=words)


def test_file_names_keep_letters_of_all_scripts() -> None:
    assert _slug("Grüße, 猫!") == "grüße-猫" and _slug("???") == "image"
