"""What the command prints and needs, without and with --apply."""

from pathlib import Path

import pytest

from autolora.catalog import diff
from autolora.errors import AutoLoraError
from autolora.pool.takedown import ORPHANED, find_scope
from autolora.refresh.summary import refresh_summary
from flows import takedown
from tests.flows.takedown.erasure import CHANGED, FULL, take_down
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import CAT, INK, SHARED

pytestmark = pytest.mark.slow


def test_without_apply_nothing_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takedown.take_down(["civitai:7"], "asked", is_applied=False)
    printed = capsys.readouterr().out
    for place in ("data/pool", "DVC's cache", "remote store"):
        assert f"would be erased in {place}: 2 files, 0.013 MB" in printed
    assert f"kept: rendering {SHARED}" in printed and f"kept: weights {CAT}" in printed
    assert repo.run(root, "git", "status", "--porcelain") == ""
    assert set(repo.contents(root).values()) == {FULL}


def test_the_command_reports_and_is_repeated_without_effect(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = repo.take_down(root, "civitai:7", "--reason", "asked", "--apply")
    assert done.returncode == 0 and "erased in remote store: 2 files" in done.stdout, done.stderr
    for command in (f"git add {takedown.COMMITTED}", "git commit -m", "autolora refresh"):
        assert f"    {command}" in done.stdout
    before, after_takedown = diff.keep_baseline(root), diff.snapshot(root)
    assert "- taken down: `civitai:7/" in refresh_summary(diff.compare(before, after_takedown), [])
    after = [(root / name).read_bytes() for name in CHANGED]
    for names in (["civitai:7"], [], [INK]):
        take_down(*names)
        assert "nothing to erase" in capsys.readouterr().out
    assert [(root / name).read_bytes() for name in CHANGED] == after


def test_an_image_goes_with_the_last_of_its_files_if_these_go_one_after_the_other(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_down("civitai:7")
    assert repo.contents(root)[SHARED] == FULL and f"kept: rendering {SHARED}" in capsys.readouterr().out
    take_down("bob/cat")
    assert repo.contents(root)[SHARED] == 0 and "kept: rendering" not in capsys.readouterr().out


def test_a_list_that_lacks_such_an_image_is_proven_incomplete_and_completed(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as former:
        former.setattr(takedown, "orphaned_images", lambda *arguments: [])
        former.setattr(takedown, "find_scope", lambda *arguments: find_scope(*arguments[:-1]))
        take_down("civitai:7")
        take_down("bob/cat")
    assert repo.contents(root)[SHARED] == FULL
    with pytest.raises(AutoLoraError, match="content is left"):
        takedown.prove([])
    take_down()
    assert repo.contents(root)[SHARED] == 0 and ORPHANED in capsys.readouterr().out


def test_a_name_needs_a_reason(root: Path) -> None:
    done = repo.take_down(root, "civitai:7", "--apply")
    assert done.returncode == 2 and "--reason is required" in done.stderr
    assert repo.run(root, "git", "status", "--porcelain") == ""
