"""`autolora index`: what it finds, what later runs do, and what readers see."""

import datetime
import json
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autolora import progress
from autolora.cli.generate import _find
from autolora.errors import AutoLoraError, MissingArtifact, ParamsError
from autolora.index.served import copies_folder, served_digest
from autolora.local import header_words, indexing, reading
from autolora.models import transformer_config
from autolora.params import load
from autolora.pool.weights import load_lora
from autolora.reasons import add_blocks, explain
from autolora.report.facts import facts
from autolora.report.lookup import lookup
from autolora.retrieval import open_retriever
from autolora.slots import slots
from autolora.storage.hashes import hash_file
from autolora.storage.lock import exclusive_lock
from tests.local.own_folder import TODAY, copy, images_of, index, record_reads, set_params


def first_hit(root: Path, prompt: str = "a cat") -> str:
    return open_retriever(root).search(prompt, k=1)[0].id


def show(root: Path, name: str) -> dict[str, Any]:
    return facts(lookup(root, name, load(root / "params.yaml").crawl))


def test_files_without_images_are_found_by_what_they_do(root: Path, folder: Path) -> None:
    report = index(root)
    assert (report.files, report.copies, report.images, report.problems) == (3, 0, 0, ())
    assert report.verdicts == {"accepted": ["deep/file1", "deep/file2", "file0"]}
    assert report.changes == {"embedded": 3, "updated": 0, "removed": 0}
    assert [first_hit(root, prompt) for prompt in ("a cat", "a duck", "a drawing on a chalkboard")] == [
        "file0", "deep/file1", "deep/file2"
    ]  # fmt: skip
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
    (reason,) = add_blocks(
        root, retriever, "a cat", hits, explain(root, retriever, "a cat", hits), params.pool
    )
    assert reason.weights_score > 0.3 and reason.blocks and not reason.unavailable
    assert retriever.named("a cat", ["file0"])[0].sha256 == hits[0].sha256
    lora = load_lora(root, hits[0].sha256, slots(transformer_config(params.models)), params.pool)
    assert len(lora) > 20
    assert show(root, "file0")["path"] == str(folder / "file0.safetensors")


def test_a_second_run_reads_and_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = index(root)
    state = {path: path.lstat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    reads = record_reads(monkeypatch)
    after = index(root)
    assert (reads, after.index, sum(after.changes.values())) == ([], before.index, 0)
    changed = {path.name for path in state if path.lstat().st_mtime_ns != state[path]}
    assert changed <= {"refresh.lock"}


def test_moved_and_deleted_files_cost_nothing(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(root)
    reads = record_reads(monkeypatch)
    monkeypatch.setattr("autolora.storage.hash_cache.hash_file", lambda path: pytest.fail(f"{path} is read"))
    (folder / "cats").mkdir()
    (folder / "file0.safetensors").rename(folder / "cats" / "a cat.safetensors")
    (folder / "deep" / "file1.safetensors").unlink()
    report = index(root, TODAY.replace(day=9))
    assert reads == []
    assert report.changes == {"embedded": 0, "updated": 1, "removed": 1}
    assert (first_hit(root), len(open_retriever(root).index.rows)) == ("cats/a cat", 2)
    assert show(root, "cats/a cat")["first seen"] == TODAY.isoformat()
    with pytest.raises(MissingArtifact, match="no adapter 'file0'"):
        show(root, "file0")


def test_a_new_and_a_changed_file_are_read(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(root)
    reads = record_reads(monkeypatch)
    copy("cat", folder / "new.safetensors")
    copy("duck", folder / "file0.safetensors")
    report = index(root)
    assert reads == [] and report.copies == 1  # both contents are known
    (folder / "deep" / "file2.safetensors").write_bytes(b"x")
    report = index(root)
    assert reads == ["file2.safetensors"]
    assert report.verdicts == {"accepted": ["deep/file1", "new"], "truncated": ["deep/file2"]}
    assert "refused (truncated)" in show(root, "deep/file2")["verdict"]


def test_near_duplicates_and_refused_files_are_reported_and_explained(root: Path, folder: Path) -> None:
    save_stronger(folder / "file0.safetensors", folder / "stronger.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    report = index(root)
    assert report.verdicts["near-duplicate"] == ["stronger"]
    assert report.originals == {"stronger": "file0"}
    assert report.verdicts["not-a-lora"] == ["other"]
    assert "the original is folder:file0.safetensors" in show(root, "stronger")["verdict"]
    assert len(open_retriever(root).index.rows) == 3


@pytest.mark.parametrize("days", [0, 1])
def test_a_near_duplicate_never_replaces_the_file_that_was_indexed_first(
    root: Path, folder: Path, days: int
) -> None:
    index(root)
    save_stronger(folder / "file0.safetensors", folder / "a" / "stronger.safetensors")
    for _ in range(2):  # the order of the last scan is kept
        report = index(root, TODAY + datetime.timedelta(days))
        assert report.originals == {"a/stronger": "file0"}
        assert report.verdicts["accepted"] == ["deep/file1", "deep/file2", "file0"]


def save_stronger(source: Path, target: Path) -> None:
    """Write a near-duplicate of a file: its update twice as strong."""
    target.parent.mkdir(exist_ok=True)
    save_file(
        {
            name: tensor * 2 if "lora_B" in name or "lora_up" in name else tensor
            for name, tensor in load_file(source).items()
        },
        target,
    )


def test_trigger_words_in_a_header_count_if_no_sidecar_has_any(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(folder / "file0.safetensors")
    save_file(tensors, folder / "file0.safetensors", {"modelspec.trigger_phrase": "mrtlx, " + "w" * 5000})
    index(root)
    (hit,) = open_retriever(root).search("a cat", k=1)
    assert hit.trigger_words[0] == "mrtlx" and len(hit.trigger_words[1]) < 300
    with monkeypatch.context() as context:  # a later run reads no header again
        context.setattr(header_words, "read_header", None)
        assert index(root).changes["updated"] == 0
    (folder / "file0.json").write_text(json.dumps({"trigger_words": ["inkwsh"]}))
    index(root)
    assert open_retriever(root).search("a cat", k=1)[0].trigger_words == ("inkwsh",)


def test_an_image_without_adapters_names_the_nearest(root: Path) -> None:
    index(root)
    rules = replace(load(root / "params.yaml").retrieval, min_relevance=1.0)
    hits, reason = _find(root, rules, "a cat", None, [], [], None)
    first, nearest, *_, advice = reason.splitlines()
    assert hits == [] and first == "no adapter fits the prompt; the nearest:"
    assert nearest.startswith("  folder:file0, relevance ") and "`autolora generate -k 1`" in advice
    named, _ = _find(root, rules, "a cat", None, ["folder:file0"], [], None)
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
    assert show(root, "file0")["inactive because"] == "crawl.minors in params.yaml rejects it"
    (hit,) = open_retriever(root).search("a duck", k=3)
    assert (hit.id, hit.trigger_words, hit.nsfw) == ("deep/file1", ("quack",), True)
    assert open_retriever(root).search("a duck", k=3, where="NOT nsfw") == []


def test_an_interrupted_run_is_continued(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, reads = reading.read_adapter, record_reads(monkeypatch)
    recording = reading.read_adapter

    def interrupted(*arguments: Any) -> Any:
        if len(reads) == 2:
            raise SystemExit(130)
        return recording(*arguments)

    monkeypatch.setattr(reading, "read_adapter", interrupted)
    with pytest.raises(SystemExit):
        index(root)
    assert served_digest(root) is None
    monkeypatch.setattr(reading, "read_adapter", original)
    reads = record_reads(monkeypatch)
    assert index(root).changes["embedded"] == 3 and len(reads) == 1


def test_a_long_run_logs_what_it_does(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    monkeypatch.setattr(progress, "INTERVAL_S", 0.001)
    read_adapter = reading.read_adapter
    monkeypatch.setattr(
        reading, "read_adapter", lambda *arguments: (time.sleep(0.05), read_adapter(*arguments))[1]
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


def test_a_file_that_cannot_be_read_is_named_and_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = reading.read_adapter

    def failing(path: Path, *rest: Any) -> Any:
        if path.name == "file0.safetensors":
            raise PermissionError(13, "Permission denied")
        return original(path, *rest)

    monkeypatch.setattr(reading, "read_adapter", failing)
    report = index(root)
    assert report.problems == (f"{root.parent}/loras/file0.safetensors cannot be read: Permission denied",)
    monkeypatch.setattr(reading, "read_adapter", original)
    assert index(root).changes["embedded"] == 1


def test_files_that_disappear_during_a_run_are_named(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(images_of("duck")[0], folder / "deep" / "file1.png")
    original = indexing.link_files

    def removing(*arguments: Any) -> None:
        (folder / "file0.safetensors").unlink()
        (folder / "deep" / "file1.png").unlink()
        original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "link_files", removing)
        report = index(root)
    assert (
        sorted(problem.rpartition(": ")[2] for problem in report.problems)
        == ["No such file or directory"] * 2
    )
    assert report.verdicts == {"accepted": ["deep/file1", "deep/file2"]}
    assert index(root).problems == ()


def test_one_process_at_a_time(root: Path) -> None:
    with exclusive_lock(root), pytest.raises(AutoLoraError, match="another process is changing"):
        index(root)


def test_old_copies_of_the_index_are_removed(root: Path, folder: Path) -> None:
    digests = []
    for number in range(3):
        (folder / "file0.json").write_text(json.dumps({"license": f"l{number}"}))
        (copies_folder(root) / ".unfinished").mkdir(parents=True, exist_ok=True)  # of another process
        digests.append(index(root).index)
    assert {path.name for path in copies_folder(root).iterdir()} == {*digests[1:], ".unfinished"}
    assert served_digest(root) == digests[-1]


def test_a_missing_folder_is_an_error_and_keeps_the_index(root: Path, folder: Path) -> None:
    index(root)
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(MissingArtifact, match="check that it is mounted"):
        index(root)
    assert first_hit(root) == "file0"


def test_a_file_that_changed_after_the_index_is_not_used(root: Path, folder: Path) -> None:
    index(root)
    params = load(root / "params.yaml")
    base = slots(transformer_config(params.models))
    sha256 = open_retriever(root).search("a cat", k=1)[0].sha256
    copy("duck", folder / "file0.safetensors")
    with pytest.raises(MissingArtifact, match="has changed since it was indexed: run `autolora index`"):
        load_lora(root, sha256, base, params.pool)
    (folder / "file0.safetensors").unlink()
    with pytest.raises(MissingArtifact, match="was moved or deleted since it was indexed"):
        load_lora(root, sha256, base, params.pool)


@pytest.mark.parametrize(
    ("key", "message"),
    [("hubs.folder.path", "give the folder"), ("encoder.from", "give a pretrained encoder")],
)
def test_a_missing_value_is_an_error(root: Path, key: str, message: str) -> None:
    set_params(root, {key: None})
    with pytest.raises(ParamsError, match=rf"{key} is null: {message}"):
        index(root)


def test_an_encoder_for_other_sketches_is_refused(root: Path) -> None:
    set_params(root, {"pool.sketch_size": 16})
    with pytest.raises(AutoLoraError, match=r"set pool.sketch_size in params.yaml to 32"):
        index(root)


def test_the_encoder_is_installed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(root)
    with monkeypatch.context() as patched:
        patched.setattr("autolora.encoder.stage.load_pretrained", lambda _: pytest.fail("it is loaded again"))
        index(root)
    (root / "data/encoder/model.safetensors").unlink()
    index(root)
    assert (root / "data/encoder/model.safetensors").exists()


def test_an_empty_folder_gives_an_empty_index(root: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    assert index(root).verdicts == {}
    assert open_retriever(root).search("a cat", k=3) == []


def test_the_index_needs_neither_git_nor_dvc(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    index(root)
    assert first_hit(root) == "file0"
