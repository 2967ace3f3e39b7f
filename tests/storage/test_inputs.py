"""Inputs outside the repository: what counts as a change, and what is recorded when."""

import json
import os
from pathlib import Path

import pytest

from autolora.storage.inputs import changed_inputs, read_state, recording_input, write_libraries


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.tar").write_bytes(b"one")
    (folder / "deep/b.tar").write_bytes(b"two")
    return folder


def record(root: Path, path: Path | None) -> None:
    with recording_input(root, "encoder.from", path and str(path)):
        pass


def changes(root: Path, path: Path | str | None) -> list[str]:
    """Return the phrases if params.yaml names `path` as the encoder."""
    return changed_inputs(root, {"encoder.from": path and str(path), "fusion.from": None})


def test_an_unchanged_input_is_not_named(tmp_path: Path, model: Path) -> None:
    assert changes(tmp_path, model) == []
    record(tmp_path, model)
    assert changes(tmp_path, model) == []


def test_a_changed_input_is_named_with_the_command_that_reads_it_again(tmp_path: Path, model: Path) -> None:
    record(tmp_path, model)
    (model / "c.tar").write_bytes(b"x" * 1000)
    assert changes(tmp_path, model) == [
        f"{model} has changed since the stage 'encoder' read it (2 files, 6 bytes then; 3 files, 1,006 bytes now): "
        "run `dvc repro --force --single-item encoder`"
    ]
    record(tmp_path, model)
    assert changes(tmp_path, model) == []


def test_removed_renamed_and_rewritten_files_are_changes(model: Path) -> None:
    states = [read_state(model, ".")]
    (model / "a.tar").rename(model / "c.tar")
    states.append(read_state(model, "."))
    os.utime(model / "c.tar", ns=(1, 1))
    states.append(read_state(model, "."))
    (model / "c.tar").unlink()
    states.append(read_state(model, "."))
    assert len(set(states)) == 4


@pytest.mark.parametrize("path", ["model", "~/model"])
def test_a_path_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with recording_input(tmp_path, "encoder.from", path):
        pass
    for named in (path, model):
        assert changes(tmp_path, named) == []
    (model / "a.tar").write_bytes(b"changed")
    assert changes(tmp_path, path)[0].startswith(f"{path} has changed")


def test_a_repository_may_be_moved_with_its_inputs(tmp_path: Path, model: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    model.rename(before / "model")
    record(before, Path("model"))
    before.rename(after)
    assert changes(after, "model") == []
    os.utime(after / "model/a.tar", ns=(1, 1))
    assert len(changes(after, "model")) == 1


def test_an_input_that_is_gone_is_named(tmp_path: Path, model: Path) -> None:
    record(tmp_path, model)
    model.rename(tmp_path / "elsewhere")
    assert changes(tmp_path, model) == [
        f"{model}, which encoder.from in params.yaml names, has been removed since the stage 'encoder' read it "
        "(2 files, 6 bytes then): restore it before the stage runs again, or change encoder.from"
    ]


@pytest.mark.parametrize(
    ("before", "after"), [("model", "other"), ("model", None), (None, "model"), ("a/b", "a/c")]
)
def test_another_input_than_that_of_the_last_run_is_named(
    tmp_path: Path, model: Path, before: str | None, after: str | None
) -> None:
    """Whether it exists or not; `a/b` is an id on Hugging Face."""
    with recording_input(tmp_path, "encoder.from", before):
        pass
    assert changes(tmp_path, before) == []
    assert changes(tmp_path, after) == [
        f"encoder.from in params.yaml is {after or 'null'}, but the last run of the stage 'encoder' had "
        f"{before or 'null'}: run `dvc repro encoder`"
    ]


def test_an_input_that_no_stage_has_read_on_this_machine_is_not_named(tmp_path: Path, model: Path) -> None:
    assert changes(tmp_path, model) == changes(tmp_path, "absent") == []


def test_a_change_while_the_stage_runs_and_a_failed_run_are_named(tmp_path: Path, model: Path) -> None:
    with recording_input(tmp_path, "encoder.from", str(model)):
        (model / "a.tar").write_bytes(b"changed")
    assert len(changes(tmp_path, model)) == 1
    with pytest.raises(RuntimeError), recording_input(tmp_path, "encoder.from", str(model)):
        raise RuntimeError
    assert len(changes(tmp_path, model)) == 1


def test_without_an_input_nothing_can_change(tmp_path: Path, model: Path) -> None:
    record(tmp_path, model)
    record(tmp_path, None)
    (model / "a.tar").write_bytes(b"changed")
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
