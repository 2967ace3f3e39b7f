"""bench.sealed before it measures: what it refuses, and what it reads of a pool."""

import json
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError, MismatchError, MissingArtifact
from autolora.storage.lock import exclusive_folder
from bench import sealed, sealed_pool
from bench.sealed_pool import SealedPool

NO_TABLES: dict[str, dict[str, object]] = {"retrieval": {}, "nothing fits": {}, "mislabelled": {}}


def write_pool(home: Path, repos: tuple[str, ...] = ("a/one", "b/two")) -> SealedPool:
    """Write labels, prompts and galleries as the build does; the last LoRA is held out."""
    rows = []
    for number, repo in enumerate(repos):
        (home / "pool" / repo / "images").mkdir(parents=True)
        (home / "pool" / repo / "images" / "1.png").write_text(repo)
        theme = ("cat", "clay")[number]
        rows.append(
            {"sha256": f"{number}", "repo": repo, "theme": theme, "shown": theme, "quality": "good",
             "captioning": "tags", "held_out": theme == "clay"}
        )  # fmt: skip
    prompts = [
        {"prompt": "a cat", "kind": "described 1", "subject": "cat", "themes": ["cat"],
         "renderings": ["a/one/images/1.png"]},
        {"prompt": "a cat of clay", "kind": "described 2", "subject": "cat", "themes": ["cat", "clay"],
         "renderings": ["a/one/images/1.png", "b/two/images/1.png"]},
    ]  # fmt: skip
    others = [
        {"prompt": "a cat!", "kind": "other grammar", "subject": "cat", "themes": ["cat"], "renderings": []},
        {"prompt": "a whale", "kind": "unknown", "subject": "whale", "themes": [], "renderings": []},
        {"prompt": "clay", "kind": "other grammar", "subject": "clay", "themes": ["clay"], "renderings": []},
    ]  # fmt: skip
    (home / "recipe.json").write_text(json.dumps({"commits": [sealed.git("rev-parse", "HEAD")]}))
    for name, content in (("labels", rows), ("described", prompts), ("out_of_distribution", others)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return SealedPool(home)


def test_a_missing_pool_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="make playground-162"):
        sealed.check(SealedPool(tmp_path), tmp_path / "sealed.json", None)


def test_the_test_is_run_on_a_commit_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, results = write_pool(tmp_path), tmp_path / "sealed.json"
    changed = ["?? new.py"]
    monkeypatch.setattr(sealed, "git", lambda *arguments: {"status": changed[0]}.get(arguments[0], "c" * 40))
    with pytest.raises(MismatchError, match=r"commit or remove them first\n.. new.py"):
        sealed.check(pool, results, None)
    assert sealed.check(pool, None, None) == "c" * 40  # a trial
    changed[0] = ""
    assert sealed.check(pool, results, None) == "c" * 40
    results.write_text("{}")
    with pytest.raises(MismatchError, match="--again REASON"):
        sealed.check(pool, results, None)
    assert sealed.check(pool, results, "a broken disk") == "c" * 40


def test_a_pool_of_an_unknown_commit_is_refused(tmp_path: Path) -> None:
    pool = write_pool(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"commits": ["e" * 40 + "-dirty"]}))
    with pytest.raises(MismatchError, match="which this repository does not have"):
        sealed.check(pool, None, None)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(MissingArtifact, match="writes recipe"):
        sealed.check(SealedPool(tmp_path), None, None)


def test_options_of_a_trial_are_refused_for_the_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        sealed.read_options(["--images", "10"])
    assert "are for a trial" in capsys.readouterr().err
    assert sealed.read_options(["--pool", str(tmp_path), "--images", "10"]).images == 10


def test_a_small_pool_keeps_the_prompts_that_it_can_answer(tmp_path: Path) -> None:
    whole = write_pool(tmp_path / "whole")
    assert [len(row.images) for row in whole.prompts] == [1, 2, 0, 0, 0] and whole.held_out == {"clay"}
    assert [sorted(row.loras) for row in whole.prompts] == [["0"], ["0", "1"], [], [], []]
    part = write_pool(tmp_path / "part", ("a/one",))
    assert [row.text for row in part.prompts] == ["a cat", "a cat!", "a whale"]


def test_a_repository_of_another_pool_is_refused(tmp_path: Path) -> None:
    pool, root = write_pool(tmp_path / "pool"), tmp_path / "sealed" / "repository"
    root.mkdir(parents=True)
    (root / sealed_pool.PROGRESS).write_text('{"labels": "0", "commit": "c", "finished": 2}')
    with pytest.raises(MismatchError, match=f"remove {root.parent}, and start again"):
        sealed_pool.run_pipeline(pool, root, "c")


def test_a_second_run_on_a_pool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = write_pool(tmp_path / "trial")
    monkeypatch.setattr(sealed, "PROJECT", tmp_path)
    cache = sealed.cache_of(pool)
    assert cache == tmp_path / "cache" / "sealed" / "trial"
    with exclusive_folder(cache), pytest.raises(AutoLoraError, match=f"writing to {cache}: wait"):
        sealed.main(["--pool", str(pool.home)])
    assert not (pool.home / "sealed.json").exists()
    monkeypatch.setattr(sealed, "check", lambda *_: "c" * 40)
    monkeypatch.setattr(sealed, "measure", lambda *_: {"commit": "c" * 40, "tables": NO_TABLES})
    sealed.main(["--pool", str(pool.home)])  # the lock is released
    assert json.loads((pool.home / "sealed.json").read_text())["commit"] == "c" * 40
