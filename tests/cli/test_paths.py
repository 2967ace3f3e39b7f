"""Paths on the command line: ~, and files that cannot be written are found before the work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from autolora.cli.paths import check_can_write, from_folder, new_file, to_absolute, unused_path

MB = 1_000_000


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert to_absolute(Path("~/images/cat.png")) == tmp_path / "images/cat.png"
    monkeypatch.chdir(tmp_path)
    assert to_absolute(Path("cat.png")) == tmp_path / "cat.png"


def test_a_path_that_exists_gets_a_number(tmp_path: Path) -> None:
    names = ["v1.cat.png", "v1.cat-2.png", "v1.cat-3.png"]
    for name in names:
        path = unused_path(tmp_path / names[0])
        assert path == tmp_path / name
        path.symlink_to("missing")  # a link to nothing is not overwritten either
    assert unused_path(tmp_path / "missing.png") == tmp_path / "missing.png"


def test_a_new_file_is_of_one_command_alone_and_removed_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "images" / "cat.png"
    with new_file(path) as first, new_file(path) as second:
        assert (first, second) == (path, tmp_path / "images" / "cat-2.png")
    with pytest.raises(OSError, match="full"), new_file(path) as third:
        assert third.exists() and third.name == "cat-3.png"
        raise OSError("full")
    assert sorted(file.name for file in path.parent.iterdir()) == ["cat-2.png", "cat.png"]


def test_a_writable_place_stays_as_it_is(tmp_path: Path) -> None:
    check_can_write(tmp_path / "new" / "folder" / "cat.png", MB, "-o")
    (tmp_path / "old.png").write_text("old")
    check_can_write(tmp_path / "old.png", MB, "-o")
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_text() == "old"


def make_places(root: Path) -> None:
    """Make a folder, a link to it, a link to nothing, and a file."""
    (root / "folder.png").mkdir()
    (root / "link.png").symlink_to("folder.png")
    (root / "nowhere").symlink_to("missing")
    (root / "file").write_text("a file")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("folder.png", "is a folder"),
        ("link.png", "is a folder"),
        ("nowhere/cat.png", "is not a folder that can be written"),
        ("file/cat.png", "is not a folder that can be written"),
        (f"{'x' * 300}.png", "File name too long"),
    ],
)
def test_a_place_that_cannot_hold_the_file_is_an_error(place: str, problem: str, tmp_path: Path) -> None:
    make_places(tmp_path)
    with pytest.raises(typer.BadParameter, match=problem):
        check_can_write(tmp_path / place, MB, "-o")


def test_a_link_to_a_file_is_replaced_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("missing.png")
    check_can_write(tmp_path / "link.png", MB, "-o")


def test_a_full_disk_is_an_error_before_the_work(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, pathlib, typer\n"
        "from autolora.cli.paths import check_can_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    check_can_write(pathlib.Path(sys.argv[1]), 10_000_000, '-o')\n"
        "except typer.BadParameter as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cat.png")],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert "cannot be written (File too large): give another file" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(typer.BadParameter, match="Permission denied"):
        check_can_write(tmp_path / "cat.png", MB, "-o")


def test_a_path_is_shown_as_it_is_seen_from_a_folder(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.png"
    assert from_folder(image, tmp_path) == Path("images/a.png")
    assert from_folder(image, tmp_path / "images" / "old") == image
