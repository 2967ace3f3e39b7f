"""Files that are damaged when the page starts, or while it runs: a clear message, and the page goes on."""

import logging
import os
import random
from pathlib import Path

import pytest

from autolora.catalog.store import FILES, catalog_files
from autolora.errors import AutoLoraError
from autolora.index.served import copy_path, served_digest
from autolora.params import load
from autolora.report.page import assemble
from autolora.web.query import Search
from autolora.web.site import Site, open_site

COPY = ("columns.arrow", "hashes.json", "meta.json", "text_map.safetensors", "weights_vectors.npy")
NO_JSON = (b"", b"null", b"[]", b'"x"\n', b"\xff\xfe", b"{")


def site_of(root: Path) -> Site:
    site = open_site(root, load(root / "params.yaml"))
    site.follow()
    return site


def replace(path: Path, content: bytes) -> None:
    """Replace a file as writers do, so that one that is mapped into memory stays as it is."""
    temporary = path.with_name(".damaged")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def damaged(content: bytes, seed: int) -> bytes:
    """Return a file that is cut, or in which a bit is flipped."""
    rng = random.Random(seed)
    position = rng.randrange(len(content))
    if rng.random() < 0.4:
        return content[:position]
    return content[:position] + bytes([content[position] ^ 1 << rng.randrange(8)]) + content[position + 1 :]


def copy_of(root: Path) -> Path:
    digest = served_digest(root)
    assert digest
    return copy_path(root, digest)


@pytest.mark.parametrize("name", COPY)
def test_a_damaged_copy_of_the_index_is_named_and_not_searched(own_root: Path, name: str) -> None:
    path = copy_of(own_root) / name
    whole = path.read_bytes()
    for content in (b"", b"null", b"[]", *(damaged(whole, seed) for seed in range(4))):
        replace(path, content)
        site = site_of(own_root)
        assert site.served.current is None
        assert "cannot be read" in site.served.problem and "autolora verify" in site.served.problem
    replace(path, whole)
    site.follow()
    assert site.served.current is not None


def test_a_page_goes_on_with_its_index_if_the_copy_is_damaged_later(own_root: Path) -> None:
    site = site_of(own_root)
    expected = [card.sha256 for card in site.search(Search(q="a cat")).cards]
    for name in COPY:
        replace(copy_of(own_root) / name, b"x")
    replace(own_root / "cache/served", b"\xff")
    site.follow()
    assert [card.sha256 for card in site.search(Search(q="a cat")).cards] == expected


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../etc", b"A" * 64])
def test_a_damaged_name_of_the_served_index_is_an_error(own_root: Path, content: bytes) -> None:
    (own_root / "cache/served").write_bytes(content)
    site = site_of(own_root)
    assert site.served.current is None and "expected 64 hex digits: delete it" in site.served.problem


@pytest.mark.parametrize(
    "content", [b"null\n", b"[]\n", b'"x"\n', b"\xff\n", b"{}\n", b'{"renderings": [1]}\n']
)
def test_with_a_damaged_catalog_the_page_searches_without_images(
    own_root: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = catalog_files(own_root)[3]
    whole = path.read_bytes()
    path.write_bytes(content + whole)
    site = site_of(own_root)
    site.follow()
    assert site.search(Search(q="a cat")).cards and not site.gallery.positions
    assert [record.message for record in caplog.records] == [
        f"the images cannot be read: {site.gallery_problem}"
    ]
    assert "data/catalog" in site.gallery_problem and "git checkout" in site.gallery_problem
    path.write_bytes(whole)
    site.follow()
    assert site.gallery.positions and not site.gallery_problem


@pytest.mark.parametrize("name", [FILES[3], "data/refresh.json", "digests/index.json"])
def test_a_report_of_damaged_files_is_an_error_that_names_the_file(own_root: Path, name: str) -> None:
    params, path = own_root / "params.yaml", own_root / name
    params.write_text(params.read_text().replace("themes: playground/themes.json", "themes: null"))
    assemble(own_root)
    for content in NO_JSON[1:] if name.endswith(".jsonl") else NO_JSON:
        path.write_bytes(content + b"\n")
        with pytest.raises(AutoLoraError, match=name.removesuffix(".json")):
            assemble(own_root)
