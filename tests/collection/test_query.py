"""The page about queries with LanceDB: its commands and programs run in a project under git and DVC.

Columns of vectors have their names in the page alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
import pytest

import autolora
from autolora.generation.collection import Collection
from autolora.index.store import content_digest
from autolora.params import load
from tests.support import small_root
from tests.support.tiny_sentences import tiny_sentence_encoder

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/howto/query.md"
EXAMPLE, WORD = "304ea17d06a4", '"msc"'
"""the digits of the page, and the part of a name that it searches"""
FENCE = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FORMER = "/tmp/former-index"
COMMIT = ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "refresh"]


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository whose index has a language and is in git and DVC."""
    copy = tmp_path_factory.mktemp("query") / "project"
    shutil.copytree(root, copy, symlinks=True)
    base = replace(load(copy / "params.yaml").models, pipeline=str(copy / "playground/models/flux"))
    small_root.teach_sentences(copy, base, tiny_sentence_encoder(copy / "sentences"))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "add", "-q", "data/index"]):
        run(command, copy)
    run(["git", "add", ".dvc", "data/index.dvc", "digests"], copy)
    run(["git", *COMMIT], copy)
    return copy


@pytest.fixture(scope="module")
def printed(project: Path) -> list[str]:
    """Return what the page's commands print; they get this commit, and a folder beside the project."""
    lines = re.findall(r"^    (\S.*)$", FENCE.sub("", PAGE.read_text()), flags=re.MULTILINE)
    former = str(project.parent / "former")
    commands = [line.partition("#")[0].replace("REV", "HEAD").replace(FORMER, former) for line in lines]
    return [run(command.split(), project) for command in commands]


@pytest.fixture(scope="module")
def results(project: Path, printed: list[str]) -> dict[str, Any]:
    """Return the variables of the page's programs, which run in the project with the digits that `versions` prints."""
    (digits,) = re.findall(r"\b([0-9a-f]{12})\b", printed[0])
    text, names = "".join(FENCE.findall(PAGE.read_text())), dict[str, Any]()
    assert text.count(EXAMPLE) == text.count(WORD) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        exec(compile(text.replace(EXAMPLE, digits).replace(WORD, '"cat"'), PAGE.name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def spoken(project: Path) -> Collection:
    return autolora.open(project)


def run(command: list[str], folder: Path) -> str:
    """Run a command of this installation in a folder; return what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(
        command, cwd=folder, env=os.environ | settings, check=True, capture_output=True, text=True
    ).stdout


def test_the_digest_that_versions_prints_is_a_tag_of_the_table(
    results: dict[str, Any], printed: list[str], project: Path
) -> None:
    digest = content_digest(project)
    assert results["digest"] == digest == json.loads(printed[1])["commits"][0]["index"]
    assert results["table"].version == results["table"].tags.get_version(digest)


def test_the_folder_of_a_release_is_a_table(results: dict[str, Any], project: Path) -> None:
    table = lancedb.connect(project.parent / "former").open_table("adapters")
    table.checkout(results["digest"])
    assert table.to_arrow() == results["table"].to_arrow()


def test_an_sql_filter_returns_the_rows_that_pass(results: dict[str, Any], spoken: Collection) -> None:
    assert len(results["rows"]) == len(spoken) and results["rows"][0]["license"] == "mit"


def test_a_vector_search_finds_what_is_nearest(results: dict[str, Any], spoken: Collection) -> None:
    index, permitted = spoken.retriever.index, spoken.retriever.passing(results["permitted"])
    positions, cosines = index.nearest_by_weights(results["query"], 10, permitted)
    assert [row["id"] for row in results["fitting"]] == [index.rows[position]["id"] for position in positions]
    distances = [row["_distance"] for row in results["fitting"]]
    assert distances == pytest.approx((1 - cosines).tolist(), abs=1e-5)


def test_an_adapter_is_nearest_to_itself_by_each_vector_that_it_has(results: dict[str, Any]) -> None:
    own = results["adapter"]["id"]
    assert results["similar"]
    for rows in results["similar"].values():  # others may have the same captions
        assert own in {row["id"] for row in rows if row["_distance"] < 1e-5}


def test_words_are_found_in_names_trigger_words_and_captions(results: dict[str, Any]) -> None:
    assert {row["id"] for row in results["named"]} == {f"author{author}/cat" for author in range(3)}
    assert results["triggered"] == [] and results["described"]
    table = results["table"]
    triggered = table.search("zq1", query_type="fts", fts_columns="trigger_words").limit(20).to_list()
    assert {row["id"].split("/")[0] for row in triggered} == {"author1"}


def test_text_after_a_condition_is_ignored(results: dict[str, Any]) -> None:
    """As the page warns: when LanceDB refuses it, the warning goes."""
    query = results["table"].search().limit(100)
    assert len(query.where("license = 'mit' garbage").to_list()) == 12
