"""The scan of a folder hub: LoRA files and their images, links, and files that are skipped."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from autolora.hubs import Availability
from autolora.hubs.folder.client import Folder
from tests.hubs.folder.lora_folder import RULES, TIME, TODAY, crawl, first_page, image_urls, write


def test_lists_files_in_all_subfolders(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "styles/deep/a b%20.safetensors", b"other", TIME + 1)
    write(root, "styles/notes.txt")
    assert [model.id for model in first_page(root).models] == ["styles/deep/a b%20", "ink"]
    listings = crawl(root)
    ink = listings["ink"]
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert (ink.file, ink.url, ink.size) == ("ink.safetensors", "folder:ink.safetensors", 7)
    assert (ink.sha256, ink.version, ink.updated) == (sha256, sha256, "2026-01-02T03:04:05Z")
    assert {ink.license, ink.base, ink.nsfw_level} == {None}
    assert (ink.trigger_words, ink.renderings) == ((), ())
    assert listings["styles/deep/a b%20"].url == "folder:styles/deep/a%20b%2520.safetensors"


def test_images_with_matching_names_become_renderings(root: Path) -> None:
    write(root, "ink.safetensors")
    for path in ("ink/2.png", "ink/1.jpg", "ink/notes.txt", "ink.preview.png", "ink.webp", "inkling.png"):
        write(root, path, path)
    assert image_urls(crawl(root)["ink"]) == ["folder:ink.webp", "folder:ink.preview.png", "folder:ink/1.jpg"]


def test_suffixes_match_in_any_case(root: Path) -> None:
    write(root, "a/UPPER.SAFETENSORS")
    write(root, "a/UPPER.JSON", {"license": "mit", "person": True})
    for path in ("a/UPPER.PNG", "a/UPPER.png", "a/UPPER.preview.Jpg", "a/UPPER/1.WEBP", "a/upper.png"):
        write(root, path, path)
    hub = Folder(root)
    rules = replace(RULES, max_renderings=9)
    (model,) = hub.page(rules, None, TODAY).models
    (upper,) = hub.complete_listings(model, rules, {})
    assert (upper.id, upper.file) == ("a/UPPER.SAFETENSORS", "UPPER.SAFETENSORS")
    assert (upper.license, upper.person) == ("mit", True)
    assert [url.removeprefix("folder:a/UPPER") for url in image_urls(upper)] == [
        ".PNG", ".png", ".preview.Jpg", "/1.WEBP"
    ]  # fmt: skip
    assert hub.availability(upper.id) is Availability.AVAILABLE
    (root / "a/UPPER.SAFETENSORS").unlink()
    assert hub.availability(upper.id) is Availability.NOT_FOUND


def test_spellings_of_the_suffix_have_distinct_ids(root: Path) -> None:
    names = ("a.safetensors", "a.SAFETENSORS", "a.safetensors.safetensors", "a.SAFETENSORS.safetensors")
    for name in names:
        write(root, name, name)
    listings = crawl(root)
    ids = {listing.file: id for id, listing in listings.items()}
    assert ids == {name: name for name in names} | {"a.safetensors": "a"}
    hub = Folder(root)
    for name, id in ids.items():
        (root / name).unlink()
        assert hub.availability(id) is Availability.NOT_FOUND
        remaining = [ids[other] for other in names if (root / other).exists()]
        assert all(hub.availability(other) is Availability.AVAILABLE for other in remaining)


def test_rejects_links_that_lead_out_of_the_folder(root: Path) -> None:
    write(root.parent, "secret.safetensors", b"secret")
    write(root.parent, "outside/x.safetensors", b"secret")
    write(root.parent, "secret.png", b"secret")
    write(root, "in/ink.safetensors")
    (root / "out.safetensors").symlink_to(root.parent / "secret.safetensors")
    (root / "elsewhere").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to(root)
    (root / "self.safetensors").symlink_to("self.safetensors")
    (root / "gone.safetensors").symlink_to("nowhere")
    (root / "again.safetensors").symlink_to("in/ink.safetensors")
    write(root, "in/ink.json", {"renderings": ["ink.png"]})
    (root / "in/ink.png").symlink_to(root.parent / "secret.png")
    listings = crawl(root)
    assert listings.keys() == {"in/ink", "again"}
    assert listings["in/ink"].renderings == ()
    assert sorted(problem.partition(":")[0] for problem in first_page(root).problems) == [
        "'elsewhere' is a link to a folder and was skipped", "'gone.safetensors' was skipped", "'in/ink.json'",
        "'loop' is a link to a folder and was skipped", "'out.safetensors' was skipped",
        "'self.safetensors' was skipped",
    ]  # fmt: skip
    assert first_page(root).unreadable == {"gone", "out", "self"}


def test_problem_of_an_image_names_the_file_that_refers_to_it(root: Path) -> None:
    for name in ("a", "b", "c"):
        write(root, f"{name}.safetensors")
        (root / f"{name}.png").symlink_to("nowhere")
    write(root, "a.JSON", {"renderings": ["a.png"]})
    write(root, "b.json", {"license": "mit"})
    prefixes = [problem.partition(" was skipped")[0] for problem in first_page(root).problems]
    assert prefixes == [
        "'a.JSON': the image 'a.png'",
        "'b.safetensors': the image 'b.png'",
        "'c.safetensors': the image 'c.png'",
    ]


def test_follows_links_to_images_inside_the_folder(root: Path) -> None:
    write(root.parent, "outside/1.png", b"secret")
    write(root, "a/ink.safetensors")
    write(root, "b/images/1.png", b"one")
    (root / "a/near").symlink_to("../b/images")
    (root / "a/far").symlink_to(root.parent / "outside")
    (root / "a/ink").symlink_to(root.parent / "outside")
    for _ in range(2):
        write(root, "a/ink.json", {"renderings": ["near/1.png", "far/1.png", "near/2.png", "far/1.png"]})
        assert image_urls(crawl(root)["a/ink"]) == ["folder:a/near/1.png"]
    assert sum("leads out of the folder" in problem for problem in first_page(root).problems) == 2
    (root / "a/ink.json").unlink()
    assert crawl(root)["a/ink"].renderings == ()


def test_link_inside_a_link_free_folder_is_checked(root: Path) -> None:
    """The first image shows that a/images is not behind a link; a/images/deep is a link nevertheless."""
    write(root.parent, "outside/2.png", b"secret")
    write(root, "a/images/1.png", b"one")
    (root / "a/images/deep").symlink_to(root.parent / "outside")
    write(root, "ink.safetensors")
    write(root, "ink.json", {"renderings": ["a/images/1.png", "a/images/deep/2.png"]})
    assert image_urls(crawl(root)["ink"]) == ["folder:a/images/1.png"]


def test_problems_contain_complete_printable_paths(root: Path) -> None:
    long = "/".join(["x" * 100] * 3)
    write(root, f"{long}/ink.safetensors")
    write(root, f"{long}/ink.json", "not JSON")
    write(root, "neon.safetensors")
    write(root, "neon/bell\x07.png")
    page = first_page(root)
    assert len(page.problems) == 2 and all(problem.isprintable() for problem in page.problems)
    assert any(f"{long}/ink" in problem for problem in page.problems)
    assert page.unreadable == {f"{long}/ink"}


def test_skips_entries_that_are_not_regular_files_or_have_unsafe_names(root: Path) -> None:
    os.mkfifo(root / "pipe.safetensors")
    (root / "folder.safetensors").mkdir()
    write(root, ".safetensors")
    write(root, "bell\x07.safetensors")
    (root / os.fsdecode(b"\xff.safetensors")).write_bytes(b"")
    page = first_page(root)
    assert (page.models, page.unreadable) == ((), {"pipe"})
    assert all(problem.isprintable() for problem in page.problems) and len(page.problems) == 4
