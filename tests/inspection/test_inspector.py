"""Inspections of folders: every file is a result, whatever is wrong with it."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
import torch

from autolora.encoder.tags import Tag
from autolora.errors import MissingArtifact
from autolora.hubs.folder.sidecar import SIDECARS
from autolora.inspection import content
from autolora.inspection import inspector as module
from autolora.inspection.description import Description
from autolora.inspection.facts import facts, summarize_inspection
from autolora.inspection.files import FoundFile, find_files
from autolora.inspection.inspection import UNREADABLE, UNREADABLE_REMEDY, Inspection, Totals
from autolora.inspection.inspector import Inspector
from autolora.lora.read import MAX_REFUSED_BYTES, read_and_sketch
from autolora.lora.remedies import REMEDIES
from autolora.lora.sketch import Sketch
from autolora.storage.hashes import hash_file
from tests.inspection.files import BASE, rewrite, write_folder
from tests.lora.odd_files import KINDS, draw
from tests.lora.writing import draw_lora, peft, write


def inspect_all(path: Path) -> dict[str, Inspection]:
    return {item.path: item for item in Inspector(BASE, None).inspect_all(find_files(path).files)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("loras") / "loras")


@pytest.fixture(scope="module")
def inspected(folder: Path) -> dict[str, Inspection]:
    return inspect_all(folder)


def test_every_weights_file_is_a_result_in_order(inspected: dict[str, Inspection]) -> None:
    verdicts = {
        "away.safetensors": UNREADABLE,
        "broken.safetensors": "truncated",
        "cat.safetensors": "accepted",
        "dog.safetensors": "accepted",
        "pickle.safetensors": "pickle",
        "sub/copy.safetensors": "accepted",
        "zz halved.safetensors": "accepted",
    }
    assert {path: item.verdict for path, item in inspected.items()} == verdicts
    assert list(inspected) == sorted(verdicts)


def test_accepted_file_is_described(folder: Path, inspected: dict[str, Inspection]) -> None:
    cat, path = inspected["cat.safetensors"], folder / "cat.safetensors"
    assert (cat.layout, cat.rank_min, cat.rank_max, cat.num_slots) == ("peft", 1, 4, len(BASE.slots))
    assert (cat.sha256, cat.size, cat.reason, cat.remedy) == (hash_file(path), path.stat().st_size, "", "")
    assert (
        cat.changes
        and cat.changes.norm > 0
        and sum(cat.changes.blocks.values()) == pytest.approx(1, abs=1e-3)
    )


def test_duplicates_name_the_earlier_file(inspected: dict[str, Inspection]) -> None:
    copy, halved = inspected["sub/copy.safetensors"], inspected["zz halved.safetensors"]
    assert (copy.exact_duplicate_of, copy.near_duplicate_of) == ("cat.safetensors", None)
    assert halved.exact_duplicate_of is None and halved.near_duplicate_of
    assert (halved.near_duplicate_of.path, halved.near_duplicate_of.strength) == ("cat.safetensors", 0.5)
    assert "nearly the same update as cat.safetensors" in summarize_inspection(halved)


def test_refused_file_has_reason_and_remedy(inspected: dict[str, Inspection]) -> None:
    broken, away = inspected["broken.safetensors"], inspected["away.safetensors"]
    assert "the file is shorter than its header requires" in broken.reason and broken.sha256
    assert broken.remedy == REMEDIES["truncated"] == facts(broken)["what to do"]
    assert away.reason == "the link leads out of the folder" and away.sha256 is None


def test_rows_are_json_with_stable_names(inspected: dict[str, Inspection]) -> None:
    row = json.loads(json.dumps(inspected["zz halved.safetensors"].to_row()))
    assert set(row) == {
        "path", "size", "sha256", "verdict", "reason", "remedy", "base", "header", "layout", "rank_min", "rank_max",
        "num_slots", "dtype", "keys_used", "keys_seen", "ignored_keys", "warnings", "changes",
        "trigger_words", "exact_duplicate_of", "near_duplicate_of", "description", "index", "made_for",
        "disagreements", "said",
    }  # fmt: skip
    assert row["near_duplicate_of"] == {"path": "cat.safetensors", "cosine": 1.0, "strength": 0.5}


def test_totals_count_reasons(inspected: dict[str, Inspection]) -> None:
    totals = Totals()
    for item in inspected.values():
        totals.count(item)
    assert (totals.files, totals.accepted, totals.exact_duplicates, totals.near_duplicates) == (7, 4, 1, 1)
    assert {code: count for code, count, *_ in totals.remedies} == {
        UNREADABLE: 1,
        "truncated": 1,
        "pickle": 1,
    }
    assert all(meaning and remedy for *_, meaning, remedy in totals.remedies)


def test_file_given_as_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(folder / "cat.safetensors")
    assert inspect_all(link)[str(link)].accepted


def test_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="does not exist"):
        find_files(tmp_path / "none")


def test_folder_without_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(MissingArtifact, match="contains no LoRA file"):
        find_files(tmp_path)


def test_damaged_sidecar_hides_no_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "loras")
    (folder / "cat.json").write_text("{")
    found = find_files(folder)
    assert "cat.safetensors" in {file.path for file in found.files}
    assert "its sidecar 'cat.json' is not valid" in "".join(found.problems)


def test_trigger_words_are_those_of_the_sidecar_else_of_the_header(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "loras")
    for name in ("cat", "dog"):
        rewrite(folder / f"{name}.safetensors", {"modelspec.trigger_phrase": "of header"})
    (folder / "cat.json").write_text(json.dumps({"trigger_words": ["of sidecar"]}))
    words = {path: item.trigger_words for path, item in inspect_all(folder).items()}
    assert (words["cat.safetensors"], words["dog.safetensors"]) == (("of sidecar",), ("of header",))


def test_file_that_disappears_while_files_are_inspected_is_a_result(folder: Path, tmp_path: Path) -> None:
    gone = FoundFile(path="gone", location=tmp_path / "gone.safetensors", problem="")
    kept = FoundFile(path="kept", location=folder / "cat.safetensors", problem="")
    results = list(Inspector(BASE, None).inspect_all([gone, kept]))
    assert [item.verdict for item in results] == [UNREADABLE, "accepted"]
    assert "No such file" in results[0].reason


@pytest.fixture
def ten_files(tmp_path: Path) -> Path:
    """Return a folder of ten LoRA files."""
    for number in range(10):
        write(tmp_path / f"{number}.safetensors", peft(draw_lora(number)))
    return tmp_path


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (content, "read_unchecked"),
        (content, "hash_regular"),
        (module, "read_facts"),
        (module, "measure_changes"),
    ],
    ids=["reading", "hashing", "header", "blocks"],
)
def test_file_that_fails_unexpectedly_is_the_only_one_that_is_unreadable(
    ten_files: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: ModuleType,
    name: str,
) -> None:
    bad = ten_files / "3.safetensors"
    rewrite(bad, {"marker": "bad"})
    known, original = read_and_sketch(bad, BASE.slots, BASE.bounds, BASE.spec), getattr(where, name)

    def failing(first: Any, *rest: Any) -> Any:
        is_sketch = isinstance(first, Sketch) and torch.equal(first.values, known[1].values)
        if first == bad or is_sketch or (isinstance(first, dict) and first.get("marker")):
            raise RuntimeError("injected")
        return original(first, *rest)

    monkeypatch.setattr(where, name, failing)
    items = inspect_all(ten_files)
    assert {path for path, item in items.items() if not item.accepted} == {"3.safetensors"} and len(
        items
    ) == 10
    item = items["3.safetensors"]
    assert (item.verdict, item.remedy) == (UNREADABLE, UNREADABLE_REMEDY)
    assert (
        item.reason == "3.safetensors cannot be read: unexpected RuntimeError, whose traceback is in the log"
    )
    assert "RuntimeError: injected" in caplog.text and json.dumps(item.to_row()) and facts(item)


def test_sidecar_that_fails_unexpectedly_is_named(ten_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: bytes) -> Any:
        raise RuntimeError("injected")

    (ten_files / "3.json").write_text("{}")
    monkeypatch.setitem(SIDECARS, ".json", failing)
    found = find_files(ten_files)
    assert len(found.files) == 10
    (problem,) = found.problems
    assert "'3.safetensors' cannot be read: unexpected RuntimeError" in problem


def test_header_of_a_refused_file_is_shown(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "chroma.safetensors"
    path.write_bytes((folder / "cat.safetensors").read_bytes())
    rewrite(
        path, {"modelspec.architecture": "chroma/lora", "ss_sd_model_name": "/home/ann/chroma.safetensors"}
    )
    item = inspect_all(path)[str(path)]
    assert item.verdict == "wrong-base" and item.header
    assert item.header.description == {"architecture": "chroma/lora"} and item.header.private_fields == 1
    assert "ann" not in json.dumps(item.to_row() | {"path": ""})


def test_files_are_read_when_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def record(path: Path, stop: Event) -> str:
        hashed.append(path)
        return hash_file(path)

    monkeypatch.setattr(content, "hash_regular", record)
    files = [FoundFile(path=str(i), location=folder / "cat.safetensors", problem="") for i in range(50)]
    results: Iterator[Inspection] = Inspector(BASE, None).inspect_all(files)
    assert [next(results).exact_duplicate_of for _ in range(3)] == [None, "0", "0"]
    results.close()
    assert len(hashed) <= 3 + module.FILES_AHEAD


def test_large_file_that_is_refused_is_not_hashed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((folder / "cat.safetensors").read_bytes())
    os.truncate(path, 200 * MAX_REFUSED_BYTES)  # sparse: takes no space
    item = inspect_all(path)[str(path)]
    assert (item.verdict, item.size, item.sha256) == (
        "header-inconsistent",
        200 * MAX_REFUSED_BYTES,
        None,
    )


def test_end_of_an_iteration_ends_hashing(tmp_path: Path, folder: Path) -> None:
    large = tmp_path / "large.safetensors"
    large.touch()
    os.truncate(large, 500 * MAX_REFUSED_BYTES)  # sparse; hashing it would take minutes
    files = [folder / "cat.safetensors", large]
    results = Inspector(BASE, None).inspect_all(
        [FoundFile(path=path.name, location=path, problem="") for path in files]
    )
    assert next(results).accepted
    results.close()


def test_row_has_the_documented_keys(inspected: dict[str, Inspection]) -> None:
    text = (Path(__file__).parents[2] / "docs/howto/inspect.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`.+?`) \|", text.partition("## Read the JSON")[2], flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == set(inspected["cat.safetensors"].to_row())


@pytest.mark.parametrize("seed", range(0, 3 * len(KINDS), 2))
def test_unusual_and_hostile_files_are_results(tmp_path: Path, seed: int) -> None:
    file = draw(tmp_path, seed)
    (item,) = Inspector(BASE, None).inspect_all([FoundFile(path="x", location=file.path, problem="")])
    assert item.verdict in (file.codes or ("accepted",))
    assert json.loads(json.dumps(item.to_row())) and facts(item)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [((0.9, 0.6, 0.4), "cat, mosaic"), ((0.42, 0.3, 0.2), "unsure: cat (42%)")],
)
def test_a_row_without_a_likely_tag_says_so(
    inspected: dict[str, Inspection], probabilities: tuple[float, ...], words: str
) -> None:
    tags = tuple(
        Tag(text=text, probability=probability)
        for text, probability in zip(("cat", "mosaic", "snow"), probabilities, strict=True)
    )
    described = Description(tags=tags, captions=(), adapters=(), checks=())
    row = summarize_inspection(replace(inspected["cat.safetensors"], description=described))
    assert row.split("; ")[0] == words
