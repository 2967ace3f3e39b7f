"""Batches: closing, naming, membership, and what a killed run leaves."""

import datetime
import os
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from autolora.pool import batches
from autolora.pool.sketch_packs import close_packs

TODAY = datetime.date(2026, 1, 5)


def put(root: Path, *names: str, kind: str = "weights") -> list[str]:
    """Write new files and return their names as sha256."""
    files = [name * 64 for name in names]
    for sha256 in files:
        path = batches.file_path(root, kind, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sha256)
    return files


def close(root: Path, weights: list[str], images: list[str] | None = None) -> list[str]:
    names = batches.close(root, {"weights": weights, "renderings": images or []}, TODAY)
    batches.remove_open(root)
    return names


def test_new_files_move_from_the_open_batch_into_a_closed_one(tmp_path: Path) -> None:
    weights, images = put(tmp_path, "a", "b"), put(tmp_path, "c", kind="renderings")
    assert batches.file_path(tmp_path, "weights", weights[0]).parent == tmp_path / "data/pool/open/weights"
    assert close(tmp_path, weights, images) == ["2026-01-05"]
    folder = tmp_path / "data/pool/batches/2026-01-05"
    assert batches.file_path(tmp_path, "weights", weights[0]) == folder / f"weights/{weights[0]}.safetensors"
    assert batches.file_path(tmp_path, "renderings", images[0]).read_text() == images[0]
    assert batches.present_files(tmp_path, "weights") == set(weights)
    assert not batches.open_folder(tmp_path).exists()
    assert batches.is_complete(tmp_path, "2026-01-05")


def test_a_second_batch_of_a_day_has_another_name_and_the_first_is_unchanged(tmp_path: Path) -> None:
    first = put(tmp_path, "a")
    close(tmp_path, first)
    lines = batches.list_path(tmp_path).read_text()
    assert close(tmp_path, [*first, *put(tmp_path, "b")]) == ["2026-01-05-2"]
    assert batches.list_path(tmp_path).read_text().startswith(lines)
    assert os.listdir(tmp_path / "data/pool/batches/2026-01-05/weights") == [f"{first[0]}.safetensors"]


def test_names_of_other_revisions_are_not_used_again(tmp_path: Path) -> None:
    folder = batches.batches_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "2026-01-05.dvc").touch()
    (folder / "2026-01-05-2").mkdir()
    assert close(tmp_path, put(tmp_path, "a")) == ["2026-01-05-3"]


def test_nothing_new_makes_no_batch(tmp_path: Path) -> None:
    assert close(tmp_path, []) == []
    assert batches.list_path(tmp_path).read_bytes() == b""


def test_files_that_no_row_describes_are_removed_from_the_open_batch_only(tmp_path: Path) -> None:
    first = put(tmp_path, "a")
    close(tmp_path, first)
    put(tmp_path, "b")
    assert close(tmp_path, []) == []
    assert batches.present_files(tmp_path, "weights") == set(first)


def test_a_batch_has_a_limited_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_ADAPTERS", 2)
    files = put(tmp_path, *"abcde")
    assert close(tmp_path, files) == ["2026-01-05", "2026-01-05-2", "2026-01-05-3"]
    sizes = [
        len(list((batches.batches_folder(tmp_path) / name / "weights").iterdir()))
        for name in batches.batch_names(tmp_path)
    ]
    assert max(sizes) <= 2 and batches.present_files(tmp_path, "weights") == set(files)


def test_a_lost_file_is_downloaded_into_its_own_batch(tmp_path: Path) -> None:
    (sha256,) = put(tmp_path, "a")
    close(tmp_path, [sha256])
    path = batches.file_path(tmp_path, "weights", sha256)
    path.unlink()
    assert not batches.is_complete(tmp_path, "2026-01-05")
    assert put(tmp_path, "a") and path.exists()
    assert close(tmp_path, [sha256]) == []


@pytest.mark.parametrize("step", ["moved", "renamed"])
def test_a_killed_closing_is_completed(tmp_path: Path, step: str) -> None:
    files = put(tmp_path, "a", "b")
    closing = tmp_path / "data/pool/open/closing/2026-01-05/weights"
    closing.mkdir(parents=True)
    (tmp_path / f"data/pool/open/weights/{files[0]}.safetensors").rename(closing / f"{files[0]}.safetensors")
    if step == "renamed":
        batches.batches_folder(tmp_path).mkdir()
        closing.parent.rename(batches.batches_folder(tmp_path) / "2026-01-05")
    batches.recover(tmp_path)
    assert batches.present_files(tmp_path, "weights") == set(files)
    assert close(tmp_path, files) == (["2026-01-05"] if step == "moved" else ["2026-01-05-2"])
    assert batches.members(tmp_path)["weights"].keys() == set(files)
    assert all(batches.file_path(tmp_path, "weights", sha256).read_text() == sha256 for sha256 in files)


@pytest.mark.parametrize("kind", ["weights", "renderings", "sketches"])
def test_files_that_a_killed_run_was_writing_are_removed(tmp_path: Path, kind: str) -> None:
    leftover = batches.open_folder(tmp_path) / kind / f".{'a' * 64}.png.x1y2"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    batches.recover(tmp_path)
    assert not leftover.exists()
    batches.close(tmp_path, {"weights": set(), "renderings": set()}, TODAY)
    close_packs(tmp_path, set(), "0" * 64)
    batches.remove_open(tmp_path)
    assert not batches.open_folder(tmp_path).exists()


def test_a_list_that_a_killed_run_has_half_written_is_completed(tmp_path: Path) -> None:
    files = put(tmp_path, *"abc")
    close(tmp_path, files)
    complete = batches.list_path(tmp_path).read_bytes()
    batches.list_path(tmp_path).write_bytes(complete[: len(complete) // 2])
    batches.recover(tmp_path)
    assert batches.list_path(tmp_path).read_bytes() == complete


def test_a_damaged_list_names_its_line(tmp_path: Path) -> None:
    close(tmp_path, put(tmp_path, "a"))
    with batches.list_path(tmp_path).open("a") as stream:
        stream.write('{"batch": 1}\n')
    with pytest.raises(MissingArtifact, match=r"batches.jsonl, line 2 is not a valid row"):
        batches.members(tmp_path)
