"""The client of the folder hub: hashes, the page, availability and copies."""

import hashlib
import os
from pathlib import Path

import pytest

from autolora.errors import HubError, RefusedFile
from autolora.hubs import Availability, rejecting_rule
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


def test_a_file_above_the_limit_is_listed_but_not_read(root: Path) -> None:
    path = write(root, "model.safetensors")
    os.truncate(path, 200_000_000_000)  # sparse: takes no space, and reading it takes minutes
    listing = crawl(root)["model"]
    assert (listing.size, listing.sha256) == (200_000_000_000, None)
    assert rejecting_rule(listing, RULES) == "max_file_mb"


def test_lists_all_files_as_one_page_last_changed_first(root: Path) -> None:
    for number in range(5):
        write(root, f"{number}.safetensors", time=TIME + number // 2)
    (root / "out.safetensors").symlink_to(root.parent)
    page = first_page(root)
    assert [model.id for model in page.models] == ["4", "2", "3", "0", "1"]
    assert (page.next, len(page.problems)) == (None, 1)


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
