"""`autolora index`: what it finds, what later runs do, and what readers see."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from autolora import progress
from autolora.cli.generate import _find
from autolora.local import header_texts, reading
from autolora.lora.slots import slots
from autolora.models import transformer_config
from autolora.params import load
from autolora.pool.weights import load_lora
from autolora.search.retriever import open_retriever
from autolora.storage.hashes import hash_file
from tests.local.own_folder import (
    first_hit,
    index,
    save_stronger,
    show,
)
from tests.support.waiting import wait_for_line

pytestmark = pytest.mark.slow


def test_files_without_images_are_found_by_what_they_do(root: Path, folder: Path) -> None:
    report = index(root)
    assert (report.files, report.copies, report.images, report.problems) == (3, {}, 0, ())
    assert report.verdicts == {"accepted": ["deep/file1", "deep/file2", "file0"]}
    assert report.changes == {"embedded": 3, "updated": 0, "removed": 0}
    assert [first_hit(root, prompt) for prompt in ("a cat", "a duck", "a drawing on a chalkboard")] == [
        "file0", "deep/file1", "deep/file2"
    ]  # fmt: skip
    first, second, _ = open_retriever(root).search("a cat")
    assert first.relevance and second.relevance, "the encoder has a language"
    assert first.relevance > 5 * second.relevance
    assert {path.name for path in root.iterdir()} == {"params.yaml", "data", "digests", "cache"}
    assert [path.name for path in sorted(folder.rglob("*.*"))] == [f"file{n}.safetensors" for n in (1, 2, 0)]


def test_weights_are_linked_and_not_copied(root: Path, folder: Path) -> None:
    index(root)
    stored = [path for path in root.rglob("*") if path.is_file() and path.name.endswith(".safetensors")]
    files = {hash_file(path) for path in folder.rglob("*.safetensors")}
    assert {path.stem for path in stored if path.is_symlink()} == files
    assert not [path for path in stored if not path.is_symlink() and hash_file(path) in files]


def test_readers_work_as_in_a_pipeline(root: Path, folder: Path) -> None:
    index(root)
    params = load(root / "params.yaml")
    retriever = open_retriever(root)
    hits = retriever.search("a cat", k=1, where="hub = 'folder' AND size < 1000000")
    (reason,) = retriever.reasons("a cat", hits)
    assert reason.weights_score > 0.3 and not reason.unavailable
    assert retriever.named("a cat", ["file0"])[0].sha256 == hits[0].sha256
    lora = load_lora(root, hits[0].sha256, slots(transformer_config(params.models)), params.pool)
    assert len(lora) > 20
    assert show(root, "file0")["path"] == str(folder / "file0.safetensors")


def test_near_duplicates_and_refused_files_are_reported_and_explained(root: Path, folder: Path) -> None:
    save_stronger(folder / "file0.safetensors", folder / "stronger.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    report = index(root)
    assert report.verdicts["near-duplicate"] == ["stronger"]
    assert report.originals == {"stronger": "file0"}
    assert report.verdicts["not-a-lora"] == ["other"]
    assert "the original is folder:file0.safetensors" in show(root, "stronger")["verdict"]
    assert len(open_retriever(root).index.rows) == 3


def test_trigger_words_in_a_header_count_if_no_sidecar_has_any(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(folder / "file0.safetensors")
    save_file(tensors, folder / "file0.safetensors", {"modelspec.trigger_phrase": "mrtlx, " + "w" * 5000})
    index(root)
    (hit,) = open_retriever(root).search("a cat", k=1)
    assert hit.trigger_words[0] == "mrtlx" and len(hit.trigger_words[1]) < 300
    with monkeypatch.context() as context:  # a later run reads no header again
        context.setattr(header_texts, "read_header", None)
        assert index(root).changes["updated"] == 0
    (folder / "file0.json").write_text(json.dumps({"trigger_words": ["inkwsh"]}))
    index(root)
    assert open_retriever(root).search("a cat", k=1)[0].trigger_words == ("inkwsh",)


def test_an_image_without_adapters_names_the_nearest(root: Path) -> None:
    index(root)
    params = load(root / "params.yaml")
    params = replace(params, retrieval=replace(params.retrieval, min_relevance=1.0))
    hits, reason = _find(root, params, "a cat", None, [], [], None)
    first, nearest, *_, advice = reason.splitlines()
    assert hits == [] and first == "no adapter fits the prompt; the nearest:"
    assert nearest.startswith("  folder:file0, relevance ") and "`autolora generate -k 1`" in advice
    named, _ = _find(root, params, "a cat", None, ["folder:file0"], [], None)
    assert [hit.id for hit in named] == ["file0"]


def test_rules_and_sidecars_count(root: Path, folder: Path) -> None:
    (folder / "file0.json").write_text(json.dumps({"minor": True}))
    (folder / "deep" / "file1.civitai.info").write_text(
        json.dumps({"trainedWords": ["quack"], "nsfwLevel": 16})
    )
    (folder / "deep" / "file2.metadata.json").write_text("{")
    report = index(root)
    assert report.rejected == {"minors": 1}
    assert report.problems == (
        "'deep/file2.safetensors' was skipped: its sidecar 'file2.metadata.json' is not valid: Expecting property "
        "name enclosed in double quotes: line 1 column 2 (char 1)",
    )
    assert (
        show(root, "file0")["inactive because"]
        == "it is marked as showing a minor; such adapters never enter"
    )
    (hit,) = open_retriever(root).search("a duck", k=3)
    assert (hit.id, hit.trigger_words, hit.nsfw) == ("deep/file1", ("quack",), True)
    assert open_retriever(root).search("a duck", k=3, where="NOT nsfw") == []


def test_a_long_run_logs_what_it_does(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    monkeypatch.setattr(progress, "INTERVAL_S", 0.001)
    read_adapter = reading.read_adapter
    monkeypatch.setattr(
        reading, "read_adapter", lambda *arguments: (wait_for_line(caplog), read_adapter(*arguments))[1]
    )
    index(root)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("[index] 1 of 3 files read, ") and line.endswith(" left") for line in lines)


def test_several_processes_read_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FILES_PER_PROCESS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    report = index(root)
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "digests")
    monkeypatch.setattr(reading, "FILES_PER_PROCESS", 100)
    assert index(root).index == report.index


def test_the_index_needs_neither_git_nor_dvc(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    index(root)
    assert first_hit(root) == "file0"
