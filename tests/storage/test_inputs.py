"""Inputs outside the repository: what counts as a change, and what is recorded when."""

import json
import os
from pathlib import Path

import pytest

from autolora.storage.inputs import changed_inputs, read_state, recording_input, write_libraries


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.tar").write_bytes(b"one")
    (folder / "deep/b.tar").write_bytes(b"two")
    return folder


def record(root: Path, path: Path | None) -> None:
    with recording_input(root, "concepts", path and str(path)):
        pass


def changes(root: Path, path: Path | str | None) -> list[str]:
    """Return the phrases if params.yaml names `path` as the corpus."""
    return changed_inputs(root, {"concepts.corpus": path and str(path), "encoder.from": None})


def test_an_unchanged_input_is_not_named(tmp_path: Path, corpus: Path) -> None:
    assert changes(tmp_path, corpus) == []
    record(tmp_path, corpus)
    assert changes(tmp_path, corpus) == []


def test_a_changed_input_is_named_with_the_command_that_reads_it_again(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    (corpus / "c.tar").write_bytes(b"x" * 1000)
    assert changes(tmp_path, corpus) == [
        f"{corpus} has changed since the stage 'concepts' read it (2 files, 6 bytes then; 3 files, 1,006 bytes now): "
        "run `dvc repro --force --single-item concepts`"
    ]
    record(tmp_path, corpus)
    assert changes(tmp_path, corpus) == []


def test_removed_renamed_and_rewritten_files_are_changes(corpus: Path) -> None:
    states = [read_state(corpus, ".")]
    (corpus / "a.tar").rename(corpus / "c.tar")
    states.append(read_state(corpus, "."))
    os.utime(corpus / "c.tar", ns=(1, 1))
    states.append(read_state(corpus, "."))
    (corpus / "c.tar").unlink()
    states.append(read_state(corpus, "."))
    assert len(set(states)) == 4


def test_a_pattern_names_its_files_only(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus / "*.tar")
    (corpus / "deep/d.tar").write_bytes(b"x")
    assert changes(tmp_path, corpus / "*.tar") == []
    (corpus / "e.tar").write_bytes(b"x")
    assert len(changes(tmp_path, corpus / "*.tar")) == 1


@pytest.mark.parametrize("path", ["corpus", "~/corpus"])
def test_a_path_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with recording_input(tmp_path, "concepts", path):
        pass
    for named in (path, corpus):
        assert changes(tmp_path, named) == []
    (corpus / "a.tar").write_bytes(b"changed")
    assert changes(tmp_path, path)[0].startswith(f"{path} has changed")


def test_a_repository_may_be_moved_with_its_inputs(tmp_path: Path, corpus: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    corpus.rename(before / "corpus")
    record(before, Path("corpus"))
    before.rename(after)
    assert changes(after, "corpus") == []
    os.utime(after / "corpus/a.tar", ns=(1, 1))
    assert len(changes(after, "corpus")) == 1


def test_an_input_that_is_gone_is_named(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    corpus.rename(tmp_path / "elsewhere")
    assert changes(tmp_path, corpus) == [
        f"{corpus}, which concepts.corpus in params.yaml names, has been removed since the stage 'concepts' read it "
        "(2 files, 6 bytes then): restore it before the stage runs again, or change concepts.corpus"
    ]


@pytest.mark.parametrize(
    ("before", "after"), [("corpus", "other"), ("corpus", None), (None, "corpus"), ("a/b", "a/c")]
)
def test_another_input_than_that_of_the_last_run_is_named(
    tmp_path: Path, corpus: Path, before: str | None, after: str | None
) -> None:
    """Whether it exists or not; `a/b` is an id on Hugging Face."""
    with recording_input(tmp_path, "concepts", before):
        pass
    assert changes(tmp_path, before) == []
    assert changes(tmp_path, after) == [
        f"concepts.corpus in params.yaml is {after or 'null'}, but the last run of the stage 'concepts' had "
        f"{before or 'null'}: run `dvc repro concepts`"
    ]


def test_an_input_that_no_stage_has_read_on_this_machine_is_not_named(tmp_path: Path, corpus: Path) -> None:
    assert changes(tmp_path, corpus) == changes(tmp_path, "absent") == []


def test_a_change_while_the_stage_runs_and_a_failed_run_are_named(tmp_path: Path, corpus: Path) -> None:
    with recording_input(tmp_path, "concepts", str(corpus)):
        (corpus / "a.tar").write_bytes(b"changed")
    assert len(changes(tmp_path, corpus)) == 1
    with pytest.raises(RuntimeError), recording_input(tmp_path, "concepts", str(corpus)):
        raise RuntimeError
    assert len(changes(tmp_path, corpus)) == 1


def test_without_an_input_nothing_can_change(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    record(tmp_path, None)
    (corpus / "a.tar").write_bytes(b"changed")
    assert changes(tmp_path, None) == []


def test_a_model_that_was_trained_with_other_libraries_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data/fusion"
    write_libraries(folder)
    assert changed_inputs(tmp_path, {}) == []
    path = folder / "libraries.json"
    versions = json.loads(path.read_text())
    path.write_text(json.dumps(versions | {"torch": "1.0"}))
    assert changed_inputs(tmp_path, {}) == [
        f"the model in {folder} was trained with torch 1.0; torch {versions['torch']} is installed: "
        "`dvc repro --force --single-item fusion` may give slightly different weights"
    ]
