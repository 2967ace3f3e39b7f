"""The client of the folder hub: hashes, pages, availability and copies."""

import hashlib
import os
from pathlib import Path

import pytest

from autolora.errors import HubError, RefusedFile
from autolora.hubs import Availability
from autolora.hubs.folder import client
from autolora.hubs.folder.client import Folder
from tests.hubs.folder.lora_folder import RULES, TIME, TODAY, crawl, first_page, write


def test_hashes_a_file_again_only_if_size_or_time_changes(root: Path) -> None:
    path = write(root, "ink.safetensors", b"weights")
    write(root, "ink.png", b"one")
    first = crawl(root)
    known = {listing.url: listing for listing in first.values()}
    write(root, "ink.safetensors", b"WEIGHTS")
    assert crawl(root, known) == first
    os.utime(path, (TIME + 1, TIME + 1))
    changed = crawl(root, known)["ink"]
    assert changed.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()
    assert changed.updated != first["ink"].updated


def test_lists_files_in_pages_last_changed_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    for number in range(5):
        write(root, f"{number}.safetensors", time=TIME + number // 2)
    hub, cursor, pages = Folder(root), None, []
    while True:
        page = hub.page(RULES, cursor, TODAY)
        pages.append([model.id for model in page.models])
        if not (cursor := page.next):
            break
    assert pages == [["4", "2"], ["3", "0"], ["1"]]
    with pytest.raises(HubError, match="the cursor 'nonsense' is not valid"):
        hub.page(RULES, "nonsense", TODAY)


def test_all_pages_return_the_state_of_the_first_scan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a file that changes during the crawl could move to an earlier page and count as withdrawn."""
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    for number in range(5):
        write(root, f"{number}.safetensors", time=TIME - number)
    (root / "out.safetensors").symlink_to(root.parent)
    hub = Folder(root)
    first = hub.page(RULES, None, TODAY)
    write(root, "4.safetensors", time=TIME + 9)
    write(root, "new.safetensors", time=TIME - 9)
    (root / "3.safetensors").unlink()
    second = hub.page(RULES, first.next, TODAY)
    third = hub.page(RULES, second.next, TODAY)
    assert (len(first.problems), second.problems) == (1, ())
    assert [model.id for page in (first, second, third) for model in page.models] == list("01234")
    assert third.next is None
    assert [model.id for model in hub.page(RULES, None, TODAY).models] == ["4", "0"]


def test_resumed_crawl_scans_the_folder_again_after_the_cursor(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    for number in range(5):
        write(root, f"{number}.safetensors", time=TIME - number)
    cursor = first_page(root).next
    (root / "1.safetensors").unlink()  # the file that the cursor names
    (root / "3.safetensors").unlink()
    write(root, "new.safetensors", time=TIME - 2.5)
    write(root, "bad.safetensors")
    write(root, "bad.json", "not JSON")
    hub = Folder(root)
    second = hub.page(RULES, cursor, TODAY)
    assert [model.id for model in second.models] == ["2", "new"] and len(second.problems) == 1
    third = hub.page(RULES, second.next, TODAY)
    assert [model.id for model in third.models] == ["4"] and third.next is None
    end = hub.page(RULES, f"{TIME - 99!r} x", TODAY)
    assert (end.models, end.next) == ((), None)


def test_availability_of_a_file(root: Path) -> None:
    write(root, "a/ink.safetensors")
    write(root.parent, "secret.safetensors")
    (root / "out.safetensors").symlink_to(root.parent / "secret.safetensors")
    hub = Folder(root)
    assert hub.availability("a/ink") is Availability.AVAILABLE
    for id in ("a/neon", "b/ink", "out", "../secret", "a/ink.safetensors/x", ""):
        assert hub.availability(id) is Availability.NOT_FOUND


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    hub = Folder(tmp_path / "nowhere")
    for request in (lambda: hub.page(RULES, None, TODAY), lambda: hub.availability("ink")):
        with pytest.raises(HubError, match="is not a folder: check that it is mounted"):
            request()


def test_skips_a_file_that_is_removed_during_the_crawl(root: Path) -> None:
    path = write(root, "ink.safetensors")
    (model,) = first_page(root).models
    path.unlink()
    assert Folder(root).complete_listings(model, RULES, {}) == ()


def test_download_copies_the_file_within_the_size_limit(root: Path, tmp_path: Path) -> None:
    write(root, "a b/ink.safetensors", b"weights")
    target = tmp_path / "incoming/x"
    hub, url = Folder(root), crawl(root)["a b/ink"].url
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
def test_rejects_urls_of_files_outside_the_folder(root: Path, tmp_path: Path, url: str) -> None:
    write(root.parent, "secret")
    with pytest.raises(HubError, match="cannot be copied"):
        Folder(root).download(url, tmp_path / "x", 100)
    assert not (tmp_path / "x").exists()
