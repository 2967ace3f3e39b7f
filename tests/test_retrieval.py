"""Retrieval: right answers from an immutable copy, whatever writers do."""

import datetime
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lancedb
import numpy as np
import pytest

from autolora import retrieval
from autolora.encoder.store import load_encoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.index import served as index_served
from autolora.index import stage
from autolora.index.served import open_index, release, served
from autolora.models import ClipTextEncoder
from autolora.records import Hit
from autolora.retrieval import Retriever
from autolora.storage.incremental import read_digest
from tests.support.synthetic_repo import (
    BOUNDS,
    DAY,
    Made,
    make,
    make_pool,
    state,
    text_tower,
    write_dataset,
    write_encoder,
    write_index,
    write_root,
)

LATER = DAY + datetime.timedelta(days=3)
NEWCOMERS = [make("neon", author, LATER) for author in range(3, 8)]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> ClipTextEncoder:
    """Draw a text tower."""
    return text_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, tower: ClipTextEncoder) -> tuple[Path, list[Made]]:
    """Index four themes by three authors."""
    root = tmp_path_factory.mktemp("indexed")
    made = make_pool(themes=("mosaic", "neon", "chalk", "pixel"))
    write_root(root, made)
    write_dataset(root)
    write_encoder(root, tower)
    write_index(root)
    return root, made


@pytest.fixture
def root(tmp_path: Path, indexed: tuple[Path, list[Made]]) -> Path:
    """Return a root of one's own with the index in it."""
    shutil.copytree(indexed[0], tmp_path / "root")
    return tmp_path / "root"


def grow(root: Path, made: list[Made]) -> str:
    """Index these adapters and return the digest."""
    write_root(root, made)
    write_dataset(root)
    write_index(root)
    return str(read_digest(root, "index")["sha256"])


def test_answers_with_what_fits_best_first(
    root: Path, indexed: tuple[Path, list[Made]], tower: ClipTextEncoder
) -> None:
    retriever = Retriever(open_index(root), tower)
    themes = {one.sha256: one.theme for one in indexed[1]}
    for theme in ("mosaic", "neon", "chalk", "pixel"):
        hits = retriever.search(f"a {theme} drawing", k=3)
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]
        assert themes[hits[0].sha256] == theme
        assert {hit.index for hit in hits} == {read_digest(root, "index")["sha256"]}
    one = next(one for one in indexed[1] if one.sha256 == hits[0].sha256).listing
    assert (hits[0].hub, hits[0].id, hits[0].file, hits[0].license) == (
        one.hub,
        one.id,
        one.file,
        one.license,
    )


def test_scores_are_the_cosines_of_the_encoder(root: Path, tower: ClipTextEncoder) -> None:
    index = open_index(root)
    scores = Retriever(index, tower).scores("a neon drawing")
    encoder = load_encoder(root / "data" / "encoder")
    text = encoder.embed_text(tower.encode(["a neon drawing"]))[0].numpy()
    assert np.allclose(scores, index.vectors @ text, atol=1e-6)


def test_k_beyond_the_pool_answers_with_all_of_it(root: Path, tower: ClipTextEncoder) -> None:
    assert len(Retriever(open_index(root), tower).search("anything", k=99)) == 12


def test_needs_only_the_copy(root: Path, tower: ClipTextEncoder) -> None:
    expected = Retriever(open_index(root), tower).search("a neon drawing", k=3)
    release(root, read_digest(root, "index")["sha256"])
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "digests")
    assert Retriever(open_index(root), tower).search("a neon drawing", k=3) == expected


def test_copies_are_made_once_and_read_only(root: Path) -> None:
    open_index(root)
    before = state(root / "cache")
    open_index(root)
    assert state(root / "cache") == before
    files = [path for path in (root / "cache" / "index").rglob("*") if path.is_file()]
    assert files and all(path.stat().st_mode & 0o222 == 0 for path in files)


def test_serves_what_is_released_and_rolls_back(root: Path, indexed: tuple[Path, list[Made]]) -> None:
    first = read_digest(root, "index")["sha256"]
    assert served(root) is None
    release(root, first)
    second = grow(root, [*indexed[1], *NEWCOMERS])
    assert (served(root), open_index(root).digest) == (first, first)
    release(root, second)
    assert (served(root), len(open_index(root).rows)) == (second, 17)
    release(root, first)
    assert (served(root), len(open_index(root).rows)) == (first, 12)


def test_the_state_before_unfinished_work_is_still_found(
    root: Path, indexed: tuple[Path, list[Made]]
) -> None:
    whole = read_digest(root, "index")["sha256"]
    write_root(root, [*indexed[1][1:], *NEWCOMERS])
    write_dataset(root)
    plan = stage.plan(root, batch=2)
    stage.embed(root, plan.embed[0], BOUNDS)
    stage.withdraw(root, plan.remove)
    found = open_index(root)  # the digest has not been written yet
    assert (found.digest, len(found.rows)) == (whole, 12)


def test_a_damaged_working_index_is_never_copied(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_served, "TRIES", 2)
    digest = root / "digests" / "index.json"
    digest.write_text(digest.read_text().replace(read_digest(root, "index")["sha256"], "0" * 64))
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        open_index(root)
    assert not list((root / "cache" / "index").glob("*"))


def test_a_row_that_is_not_what_was_written_is_never_served(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_served, "TRIES", 1)
    table = lancedb.connect(root / "data" / "index").open_table("adapters")
    table.update(values={"license": "'mit'"})
    monkeypatch.setattr(index_served, "VERSIONS_BACK", 1)
    with pytest.raises(MissingArtifact):
        open_index(root)


def test_another_text_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    index = open_index(root)
    for width in (32, 64):
        other = text_tower(tmp_path / f"tower{width}", width=width)
        if width == 32:
            (tmp_path / "tower32" / "tokenizer" / "more").write_text("another digest")
        with pytest.raises(MismatchError, match="text encoder"):
            Retriever(index, other)


def test_query_before_there_is_an_index_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro"):
        open_index(tmp_path)


def test_served_index_without_its_copy_says_what_to_do(root: Path, indexed: tuple[Path, list[Made]]) -> None:
    release(root, read_digest(root, "index")["sha256"])
    shutil.rmtree(root / "cache" / "index")
    assert open_index(root).digest == served(root)  # made again from the working index
    shutil.rmtree(root / "cache" / "index")
    shutil.rmtree(root / "data" / "index")
    grow(root, [*indexed[1], *NEWCOMERS])
    with pytest.raises(MissingArtifact, match="--rev"):
        open_index(root)
    with pytest.raises(MissingArtifact, match="--rev"):
        release(root, str(served(root)))


def test_search_while_the_index_is_rewritten_and_replaced(
    root: Path, indexed: tuple[Path, list[Made]], tower: ClipTextEncoder
) -> None:
    """No query fails, and each answer is wholly of one digest."""
    first = str(read_digest(root, "index")["sha256"])
    before = root.parent / "before"
    shutil.copytree(root / "data" / "index", before / "index")
    shutil.copytree(root / "digests", before / "digests")
    sizes = {first: 12}
    with searching(root, tower) as answers:
        sizes[grow(root, [*indexed[1], *NEWCOMERS])] = 17
        wait_for(answers, 2)
        sizes[grow(root, indexed[1][1:])] = 11
        wait_for(answers, 2)
        shutil.rmtree(root / "data" / "index")  # as `git checkout` and `dvc checkout` do
        shutil.copy(before / "digests" / "index.json", root / "digests" / "index.json")
        shutil.copytree(before / "index", root / "data" / "index")
        wait_for(answers, 2)
    found = [answer for answer in answers if isinstance(answer, BaseException)]
    assert not found, found[0]
    assert {digest for hits in answers for digest in {hit.index for hit in hits}} == set(sizes)
    for hits in answers:
        digests = {hit.index for hit in hits}
        assert len(digests) == 1
        assert len(hits) == sizes[digests.pop()]


@contextmanager
def searching(root: Path, tower: ClipTextEncoder) -> Iterator[list[list[Hit]]]:
    """Search in a loop in another thread; yield the answers, failures among them."""
    answers: list[list[Hit]] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                answers.append(Retriever(open_index(root), tower).search("a neon drawing", k=99))
            except Exception as error:
                answers.append(error)  # type: ignore[arg-type]  # looked for at the end

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def wait_for(answers: list[list[Hit]], more: int) -> None:
    """Wait until there are that many more answers."""
    wanted = len(answers) + more
    while len(answers) < wanted:
        time.sleep(0.01)


def test_unknown_revision_is_named(root: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with pytest.raises(MissingArtifact, match="nonsense"):
        open_index(root, rev="nonsense")


def test_answers_as_of_a_revision(
    root: Path, indexed: tuple[Path, list[Made]], tower: ClipTextEncoder
) -> None:
    """The index of a tag comes through DVC; the working tree is not touched."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    dvc = [sys.executable, "-m", "dvc"]
    (root / ".gitignore").write_text("cache/\n")

    def save(tag: str) -> None:
        subprocess.run([*dvc, "add", "-q", "data/index"], cwd=root, check=True)
        subprocess.run(
            [*git, "add", "data/index.dvc", "data/.gitignore", "digests", ".dvc", ".gitignore"],
            cwd=root,
            check=True,
        )
        subprocess.run([*git, "commit", "-q", "-m", tag], cwd=root, check=True)
        subprocess.run([*git, "tag", tag], cwd=root, check=True)

    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([*dvc, "init", "-q"], cwd=root, check=True)
    save("night-1")
    first = read_digest(root, "index")["sha256"]
    expected = Retriever(open_index(root), tower).search("a neon drawing", k=3)
    grow(root, [*indexed[1], *NEWCOMERS])
    save("night-2")
    shutil.rmtree(root / "cache")
    before = state(root / "data")
    found = open_index(root, rev="night-1")
    assert found.digest == first
    assert Retriever(found, tower).search("a neon drawing", k=3) == expected
    assert state(root / "data") == before
    assert open_index(root).digest == read_digest(root, "index")["sha256"] != first
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "cache")
    with pytest.raises(MissingArtifact, match="DVC cannot fetch"):
        open_index(root, rev="night-1")


def test_three_lines_open_a_retriever(root: Path, tower: ClipTextEncoder, tmp_path: Path) -> None:
    """The text encoder is the one that params.yaml names, relative to the root."""
    tower = text_tower(root / "pipeline")
    text = (Path(__file__).parents[1] / "params.yaml").read_text()
    lines = [
        "  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in text.splitlines()
    ]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    hits = retrieval.open_retriever(root).search("a neon drawing", k=3)
    assert hits == Retriever(open_index(root), tower).search("a neon drawing", k=3)
