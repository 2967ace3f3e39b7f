"""Inputs outside the repository: what counts as a change, and what is recorded when."""

import os
from pathlib import Path

import pytest

from autolora.storage.inputs import changed_inputs, read_state, recording_input


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


def test_an_unchanged_input_is_not_named(tmp_path: Path, corpus: Path) -> None:
    assert changed_inputs(tmp_path) == []
    record(tmp_path, corpus)
    assert changed_inputs(tmp_path) == []


def test_a_changed_input_is_named_with_the_command_that_reads_it_again(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    (corpus / "c.tar").write_bytes(b"x" * 1000)
    assert changed_inputs(tmp_path) == [
        f"{corpus} has changed since the stage 'concepts' read it (2 files, 6 bytes then; 3 files, 1,006 bytes now): "
        "run `dvc repro --force --single-item concepts`"
    ]
    record(tmp_path, corpus)
    assert changed_inputs(tmp_path) == []


def test_removed_renamed_and_rewritten_files_are_changes(corpus: Path) -> None:
    states = [read_state(corpus)]
    (corpus / "a.tar").rename(corpus / "c.tar")
    states.append(read_state(corpus))
    os.utime(corpus / "c.tar", ns=(1, 1))
    states.append(read_state(corpus))
    (corpus / "c.tar").unlink()
    states.append(read_state(corpus))
    assert len(set(states)) == 4


def test_a_pattern_names_its_files_only(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus / "*.tar")
    (corpus / "deep/d.tar").write_bytes(b"x")
    assert changed_inputs(tmp_path) == []
    (corpus / "e.tar").write_bytes(b"x")
    assert len(changed_inputs(tmp_path)) == 1


@pytest.mark.parametrize("path", ["corpus", "~/corpus"])
def test_a_path_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with recording_input(tmp_path, "concepts", path):
        pass
    (corpus / "a.tar").write_bytes(b"changed")
    assert changed_inputs(tmp_path)[0].startswith(str(corpus))


def test_an_input_that_is_not_on_this_machine_is_not_named(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    corpus.rename(tmp_path / "elsewhere")
    assert changed_inputs(tmp_path) == []


def test_a_change_while_the_stage_runs_and_a_failed_run_are_named(tmp_path: Path, corpus: Path) -> None:
    with recording_input(tmp_path, "concepts", str(corpus)):
        (corpus / "a.tar").write_bytes(b"changed")
    assert len(changed_inputs(tmp_path)) == 1
    with pytest.raises(RuntimeError), recording_input(tmp_path, "concepts", str(corpus)):
        raise RuntimeError
    assert len(changed_inputs(tmp_path)) == 1


def test_without_an_input_nothing_is_recorded(tmp_path: Path, corpus: Path) -> None:
    record(tmp_path, corpus)
    record(tmp_path, None)
    (corpus / "a.tar").write_bytes(b"changed")
    assert changed_inputs(tmp_path) == []
