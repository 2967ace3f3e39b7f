"""The page about queries with LanceDB: its programs run, and the digest that `autolora versions` prints is a tag."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.generation.collection import Collection
from autolora.index.store import content_digest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/howto/query.md"
EXAMPLE = "304ea17d06a4"
"""the digits of the page"""


@pytest.fixture(scope="module")
def results(root: Path) -> dict[str, Any]:
    """Return the variables of the page's programs, which run in a project with the digits that `versions` prints."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        text = "".join(blocks)
        assert text.count(EXAMPLE) == 1
        exec(compile(text.replace(EXAMPLE, printed_digits(root)), PAGE.name, "exec"), names)
    return names


def printed_digits(root: Path) -> str:
    """Commit the digest of the index, and return what `autolora versions` prints of it."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "digests/index.json"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "refresh"], cwd=root, check=True)
    (row,) = re.findall(r"\b([0-9a-f]{12})\b", CliRunner().invoke(app, ["versions"]).stdout)
    return str(row)


def test_the_digest_that_versions_prints_is_a_tag_of_the_table(results: dict[str, Any], root: Path) -> None:
    assert results["digest"] == content_digest(root)
    assert results["table"].version == results["table"].tags.get_version(content_digest(root))


def test_an_sql_filter_returns_the_rows_that_pass(results: dict[str, Any], collection: Collection) -> None:
    assert len(results["rows"]) == len(collection) and results["rows"][0]["license"] == "mit"


def test_a_vector_search_has_the_hits_of_a_search(results: dict[str, Any], collection: Collection) -> None:
    hits = collection.search(results["prompt"], k=10, where=results["permitted"])
    assert [row["id"] for row in results["fitting"]] == [hit.id for hit in hits]
    assert [1 - row["_distance"] for row in results["fitting"]] == pytest.approx(
        [hit.score for hit in hits], abs=1e-5
    )
    assert results["similar"][0]["id"] == hits[0].id


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
