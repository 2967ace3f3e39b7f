"""A folder as a hub: what is found in it, what its sidecars say, and what is refused."""

import datetime
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import HubError, RefusedFile
from autolora.hubs import Page, Standing
from autolora.hubs.folder import client
from autolora.hubs.folder.client import Folder
from autolora.hubs.folder.sidecar import MAX_SIDECAR, read_sidecar
from autolora.params import BudgetParams, CrawlParams
from autolora.records import Listing

TODAY = datetime.date(2026, 1, 5)
TIME = 1767323045.0
RULES = CrawlParams(
    hubs=("folder",), filters=(), searches=(), bases=(), licenses=(), max_nsfw_level="explicit", persons=True,
    minors=True, min_downloads=0, max_file_mb=1, newest=None, max_renderings=3, overlap_h=24.0, sweep_days=1,
    budget=BudgetParams(files=None, gb=None, captions=None),
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "loras"
    root.mkdir()
    return root


def put(
    root: Path, path: str, content: str | bytes | dict[str, Any] = b"weights", time: float = TIME
) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(place, (time, time))
    return place


def page(root: Path) -> Page:
    return Folder(root).page(RULES, None, TODAY)


def listed(root: Path, known: dict[str, Listing] | None = None) -> dict[str, Listing]:
    hub = Folder(root)
    return {one.id: one for model in page(root).models for one in hub.complete(model, RULES, known or {})}


def test_files_are_found_wherever_they_lie(root: Path) -> None:
    put(root, "ink.safetensors")
    put(root, "styles/deep/a b%20.safetensors", b"other", TIME + 1)
    put(root, "styles/notes.txt")
    assert [model.id for model in page(root).models] == ["styles/deep/a b%20", "ink"]
    found = listed(root)
    ink = found["ink"]
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert (ink.file, ink.url, ink.size) == ("ink.safetensors", "folder:ink.safetensors", 7)
    assert (ink.sha256, ink.version, ink.updated) == (sha256, sha256, "2026-01-02T03:04:05Z")
    assert (ink.license, ink.base, ink.nsfw_level, ink.trigger_words, ink.renderings) == (
        None,
        None,
        None,
        (),
        (),
    )
    assert found["styles/deep/a b%20"].url == "folder:styles/deep/a%20b%2520.safetensors"


def test_a_sidecar_describes_its_file(root: Path) -> None:
    put(root, "a/ink.safetensors")
    put(root, "a/shown/1.png", b"one")
    put(root, "a/shown/2.png", b"two")
    described = {
        "license": "mit", "base_model": "black-forest-labs/FLUX.1-dev", "trigger_words": ["TOK", "TOK"],
        "nsfw_level": "soft", "person": True, "minor": False,
        "renderings": ["shown/1.png", {"path": "shown/2.png", "prompt": "a cat", "nsfw_level": "mature"}],
    }  # fmt: skip
    put(root, "a/ink.json", described, TIME + 60)
    ink = listed(root)["a/ink"]
    assert (ink.license, ink.base, ink.permissions.commercial) == ("mit", "flux.1-dev", True)
    assert (ink.trigger_words, ink.nsfw_level, ink.nsfw, ink.person, ink.minor) == (
        ("TOK",), "soft", False, True, False,
    )  # fmt: skip
    assert [(one.url, one.prompt, one.nsfw_level) for one in ink.renderings] == [
        ("folder:a/shown/1.png", None, "soft"),
        ("folder:a/shown/2.png", "a cat", "mature"),
    ]
    assert [one.sha256 for one in ink.renderings] == [
        hashlib.sha256(text).hexdigest() for text in (b"one", b"two")
    ]
    assert ink.updated == "2026-01-02T03:05:05Z"


def test_pictures_beside_a_file_are_its_renderings(root: Path) -> None:
    put(root, "ink.safetensors")
    for path in ("ink/2.png", "ink/1.jpg", "ink/notes.txt", "ink.preview.png", "ink.webp", "inkling.png"):
        put(root, path, path)
    urls = [rendering.url for rendering in listed(root)["ink"].renderings]
    assert urls == ["folder:ink.webp", "folder:ink.preview.png", "folder:ink/1.jpg"]


def test_suffixes_count_in_any_case(root: Path) -> None:
    put(root, "a/UPPER.SAFETENSORS")
    put(root, "a/UPPER.JSON", {"license": "mit", "person": True})
    for path in ("a/UPPER.PNG", "a/UPPER.png", "a/UPPER.preview.Jpg", "a/UPPER/1.WEBP", "a/upper.png"):
        put(root, path, path)
    hub = Folder(root)
    rules = replace(RULES, max_renderings=9)
    (model,) = hub.page(rules, None, TODAY).models
    (upper,) = hub.complete(model, rules, {})
    assert (upper.id, upper.file) == ("a/UPPER.SAFETENSORS", "UPPER.SAFETENSORS")
    assert (upper.license, upper.person) == ("mit", True)
    assert [one.url.removeprefix("folder:a/UPPER") for one in upper.renderings] == [
        ".PNG", ".png", ".preview.Jpg", "/1.WEBP"
    ]  # fmt: skip
    assert hub.standing(upper.id) is Standing.THERE
    (root / "a/UPPER.SAFETENSORS").unlink()
    assert hub.standing(upper.id) is Standing.ABSENT


def test_every_spelling_has_an_id_of_its_own(root: Path) -> None:
    names = ("a.safetensors", "a.SAFETENSORS", "a.safetensors.safetensors", "a.SAFETENSORS.safetensors")
    for name in names:
        put(root, name, name)
    found = listed(root)
    assert {one.file: id for id, one in found.items()} == {name: name for name in names} | {names[0]: "a"}
    hub = Folder(root)
    for id, one in found.items():
        (root / one.file).unlink()
        assert hub.standing(id) is Standing.ABSENT
        assert all(
            hub.standing(other) is Standing.THERE for other in found if (root / found[other].file).exists()
        )


def test_of_two_sidecars_neither_is_believed(root: Path) -> None:
    put(root, "ink.safetensors")
    put(root, "ink.json", {"person": False})
    put(root, "ink.JSON", {"person": True})
    found = page(root)
    assert not found.models and "more than one sidecar" in found.problems[0]


@pytest.mark.parametrize(
    ("field", "value"), [("nsfw_level", "high"), ("nsfw_level", []), ("person", "yes"), ("minor", 1)]
)
def test_a_file_whose_safety_cannot_be_read_is_passed_over(root: Path, field: str, value: Any) -> None:
    put(root, "ink.safetensors")
    put(root, "ink.json", {"license": "mit", field: value})
    found = page(root)
    assert not found.models and field in found.problems[0] and "passed over" in found.problems[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("license", 3), ("license", ""), ("base_model", ["x"]), ("trigger_words", "TOK"),
        ("renderings", "a.png"), ("renderings", [3]),
        ("renderings", ["../a.png"]), ("renderings", ["a.exe"]), ("renderings", [{"prompt": "x"}]), ("liscence", "mit"),
    ],
)  # fmt: skip
def test_a_wrong_field_was_not_said_and_is_reported(root: Path, field: str, value: Any) -> None:
    put(root, "ink.safetensors")
    put(root, "ink.json", {"license": "mit", field: value})
    (problem,) = page(root).problems
    assert problem.startswith("'ink.json': ") and field in problem
    assert listed(root)["ink"].license == (None if field == "license" else "mit")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "<html>", b"\xff\xfe", "[" * 99_999, " " * (MAX_SIDECAR + 1)], ids=repr
)
def test_a_file_whose_sidecar_cannot_be_read_is_left_out(root: Path, text: str | bytes) -> None:
    """What cannot be read might have said what the rules go by."""
    put(root, "ink.safetensors")
    put(root, "neon.safetensors")
    put(root, "ink.json", text)
    (problem,) = page(root).problems
    assert problem.startswith("'ink.safetensors' was passed over: its sidecar ")
    assert listed(root).keys() == {"neon"}


def test_a_sidecar_says_nothing_by_null() -> None:
    said, problems = read_sidecar(b'{"license": null, "renderings": null, "person": null}')
    assert (said.license, said.renderings, said.person, problems) == (None, None, None, ())


def test_links_do_not_lead_out(root: Path) -> None:
    put(root.parent, "secret.safetensors", b"secret")
    put(root.parent, "outside/x.safetensors", b"secret")
    put(root.parent, "secret.png", b"secret")
    put(root, "in/ink.safetensors")
    (root / "out.safetensors").symlink_to(root.parent / "secret.safetensors")
    (root / "elsewhere").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to(root)
    (root / "self.safetensors").symlink_to("self.safetensors")
    (root / "gone.safetensors").symlink_to("nowhere")
    (root / "again.safetensors").symlink_to("in/ink.safetensors")
    put(root, "in/ink.json", {"renderings": ["ink.png"]})
    (root / "in/ink.png").symlink_to(root.parent / "secret.png")
    found = listed(root)
    assert found.keys() == {"in/ink", "again"}
    assert found["in/ink"].renderings == ()
    assert sorted(problem.partition(":")[0] for problem in page(root).problems) == [
        "'elsewhere' is a link to a folder", "'gone.safetensors' was passed over", "'in/ink.json'",
        "'loop' is a link to a folder", "'out.safetensors' was passed over", "'self.safetensors' was passed over",
    ]  # fmt: skip
    assert page(root).unreadable == {"gone", "out", "self"}


def test_a_picture_that_is_passed_over_is_told_by_who_names_it(root: Path) -> None:
    for name in ("a", "b", "c"):
        put(root, f"{name}.safetensors")
        (root / f"{name}.png").symlink_to("nowhere")
    put(root, "a.JSON", {"renderings": ["a.png"]})
    put(root, "b.json", {"license": "mit"})
    begins = [problem.partition(" was passed over")[0] for problem in page(root).problems]
    assert begins == [
        "'a.JSON': the picture 'a.png'",
        "'b.safetensors': the picture 'b.png'",
        "'c.safetensors': the picture 'c.png'",
    ]


def test_pictures_may_lie_behind_links_that_stay_inside(root: Path) -> None:
    put(root.parent, "outside/1.png", b"secret")
    put(root, "a/ink.safetensors")
    put(root, "b/shown/1.png", b"one")
    (root / "a/near").symlink_to("../b/shown")
    (root / "a/far").symlink_to(root.parent / "outside")
    (root / "a/ink").symlink_to(root.parent / "outside")
    for _ in range(2):
        put(root, "a/ink.json", {"renderings": ["near/1.png", "far/1.png", "near/2.png", "far/1.png"]})
        assert [one.url for one in listed(root)["a/ink"].renderings] == ["folder:a/near/1.png"]
    assert sum("leads out of the folder" in problem for problem in page(root).problems) == 2
    (root / "a/ink.json").unlink()
    assert listed(root)["a/ink"].renderings == ()


def test_a_folder_behind_a_link_does_not_make_others_trusted(root: Path) -> None:
    """The first picture shows that a/shown is no link; a/shown/deep is one."""
    put(root.parent, "outside/2.png", b"secret")
    put(root, "a/shown/1.png", b"one")
    (root / "a/shown/deep").symlink_to(root.parent / "outside")
    put(root, "ink.safetensors")
    put(root, "ink.json", {"renderings": ["a/shown/1.png", "a/shown/deep/2.png"]})
    assert [one.url for one in listed(root)["ink"].renderings] == ["folder:a/shown/1.png"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "out", "linked folder", "broken"])
def test_a_sidecar_that_is_no_file_of_the_folder_leaves_its_file_out(root: Path, kind: str) -> None:
    put(root, "ink.safetensors")
    put(root.parent, "said.json", {"license": "mit"})
    make = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "out": lambda place: place.symlink_to(root.parent / "said.json"),
        "linked folder": lambda place: place.symlink_to(root),
        "broken": lambda place: place.symlink_to("nowhere"),
    }[kind]
    make(root / "ink.json")
    found = page(root)
    assert not found.models and any("'ink.safetensors' was passed over" in one for one in found.problems)


def test_problems_name_files_whole_and_printable(root: Path) -> None:
    long = "/".join(["x" * 100] * 3)
    put(root, f"{long}/ink.safetensors")
    put(root, f"{long}/ink.json", "no json")
    put(root, "neon.safetensors")
    put(root, "neon/bell\x07.png")
    found = page(root)
    assert len(found.problems) == 2 and all(problem.isprintable() for problem in found.problems)
    assert any(f"{long}/ink" in problem for problem in found.problems)
    assert found.unreadable == {f"{long}/ink"}


def test_what_is_no_regular_file_is_passed_over(root: Path) -> None:
    os.mkfifo(root / "pipe.safetensors")
    (root / "folder.safetensors").mkdir()
    put(root, ".safetensors")
    put(root, "bell\x07.safetensors")
    (root / os.fsdecode(b"\xff.safetensors")).write_bytes(b"")
    found = page(root)
    assert (found.models, found.unreadable) == ((), {"pipe"})
    assert all(problem.isprintable() for problem in found.problems) and len(found.problems) == 4


def test_what_has_not_changed_is_not_hashed_again(root: Path) -> None:
    place = put(root, "ink.safetensors", b"weights")
    put(root, "ink.png", b"one")
    first = listed(root)
    known = {one.url: one for one in first.values()}
    put(root, "ink.safetensors", b"WEIGHTS")
    assert listed(root, known) == first
    os.utime(place, (TIME + 1, TIME + 1))
    changed = listed(root, known)["ink"]
    assert (
        changed.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest() and changed.updated != first["ink"].updated
    )


def test_a_long_list_comes_in_pages(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    for number in range(5):
        put(root, f"{number}.safetensors", time=TIME + number // 2)
    hub, cursor, seen = Folder(root), None, []
    while True:
        page = hub.page(RULES, cursor, TODAY)
        seen.append([model.id for model in page.models])
        if not (cursor := page.next):
            break
    assert seen == [["4", "2"], ["3", "0"], ["1"]]
    with pytest.raises(HubError, match="no place in a folder's list"):
        hub.page(RULES, "nonsense", TODAY)


def test_all_pages_tell_what_the_first_has_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a file that is touched meanwhile moves to a page that was read, and is taken for gone."""
    monkeypatch.setattr(client, "PAGE", 2)
    for number in range(5):
        put(root, f"{number}.safetensors", time=TIME - number)
    (root / "out.safetensors").symlink_to(root.parent)
    hub = Folder(root)
    first = hub.page(RULES, None, TODAY)
    put(root, "4.safetensors", time=TIME + 9)
    put(root, "new.safetensors", time=TIME - 9)
    (root / "3.safetensors").unlink()
    second = hub.page(RULES, first.next, TODAY)
    third = hub.page(RULES, second.next, TODAY)
    assert (len(first.problems), second.problems) == (1, ())
    assert [model.id for one in (first, second, third) for model in one.models] == list("01234")
    assert third.next is None
    assert [model.id for model in hub.page(RULES, None, TODAY).models] == ["4", "0"]


def test_a_cursor_of_another_crawl_goes_on_in_the_folder_as_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    for number in range(5):
        put(root, f"{number}.safetensors", time=TIME - number)
    cursor = page(root).next
    (root / "1.safetensors").unlink()  # the cursor's own
    (root / "3.safetensors").unlink()
    put(root, "new.safetensors", time=TIME - 2.5)
    put(root, "bad.safetensors")
    put(root, "bad.json", "no json")
    hub = Folder(root)
    second = hub.page(RULES, cursor, TODAY)
    assert [model.id for model in second.models] == ["2", "new"] and len(second.problems) == 1
    third = hub.page(RULES, second.next, TODAY)
    assert [model.id for model in third.models] == ["4"] and third.next is None
    end = hub.page(RULES, f"{TIME - 99!r} x", TODAY)
    assert (end.models, end.next) == ((), None)


def test_how_a_file_stands(root: Path) -> None:
    put(root, "a/ink.safetensors")
    put(root.parent, "secret.safetensors")
    (root / "out.safetensors").symlink_to(root.parent / "secret.safetensors")
    hub = Folder(root)
    assert hub.standing("a/ink") is Standing.THERE
    for id in ("a/neon", "b/ink", "out", "../secret", "a/ink.safetensors/x", ""):
        assert hub.standing(id) is Standing.ABSENT


def test_a_folder_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    hub = Folder(tmp_path / "nowhere")
    for ask in (lambda: hub.page(RULES, None, TODAY), lambda: hub.standing("ink")):
        with pytest.raises(HubError, match="is no folder: is it mounted"):
            ask()


def test_a_file_that_leaves_meanwhile_is_passed_over(root: Path) -> None:
    place = put(root, "ink.safetensors")
    (model,) = page(root).models
    place.unlink()
    assert Folder(root).complete(model, RULES, {}) == ()


def test_a_download_is_a_checked_copy(root: Path, tmp_path: Path) -> None:
    put(root, "a b/ink.safetensors", b"weights")
    target = tmp_path / "incoming/x"
    hub, url = Folder(root), listed(root)["a b/ink"].url
    assert hub.download(url, target, 7) == hashlib.sha256(b"weights").hexdigest()
    assert target.read_bytes() == b"weights"
    with pytest.raises(RefusedFile, match="larger than 6 bytes") as caught:
        hub.download(url, target, 6)
    assert caught.value.code == "too-large" and not target.exists()


@pytest.mark.parametrize(
    "url",
    [
        "folder:../secret",
        "folder:..%2Fsecret",
        "folder:/etc/passwd",
        "file:///etc/passwd",
        "folder:no",
        "folder:",
    ],
)
def test_only_files_of_the_folder_are_copied(root: Path, tmp_path: Path, url: str) -> None:
    put(root.parent, "secret")
    with pytest.raises(HubError, match="cannot be copied"):
        Folder(root).download(url, tmp_path / "x", 100)
    assert not (tmp_path / "x").exists()
