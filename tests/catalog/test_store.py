"""The catalog: its files, missing ones, and arbitrary damage to a line."""

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.hashes import hash_value
from tests.support.two_hubs import DAYS, RULES, TwoHubs


class Killed(BaseException):
    """The process ends here."""


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def test_all_listings_of_a_model_are_in_the_file_that_its_hash_names(
    listings: list[Listing], tmp_path: Path
) -> None:
    second = [replace(listing, file="another.safetensors") for listing in listings]
    catalog.write(tmp_path, [*second, *reversed(listings)])
    assert len(list((tmp_path / "data/catalog").iterdir())) == 16
    for digit in "0123456789abcdef":
        rows = list(map(json.loads, (tmp_path / f"data/catalog/{digit}.jsonl").read_text().splitlines()))
        names = [f"{row['hub']}:{row['id']}" for row in rows]
        assert {hashlib.sha256(name.encode()).hexdigest()[0] for name in names} <= {digit}
        assert names == sorted(names)
    read = catalog.read_all(tmp_path)
    assert read == sorted([*listings, *second], key=lambda row: (row.hub, row.id, row.file))


def test_only_the_file_of_a_changed_listing_is_written(listings: list[Listing], tmp_path: Path) -> None:
    catalog.write(tmp_path, listings)
    files = catalog.catalog_files(tmp_path)
    before = {path: path.stat().st_ino for path in files}
    catalog.write(tmp_path, [replace(listings[0], license="new"), *listings[1:]])
    (changed,) = (path for path in files if path.stat().st_ino != before[path])
    assert changed == tmp_path / catalog.file_of(listings[0].hub, listings[0].id)


def test_a_missing_file_is_an_error_and_restored_from_the_last_commit(
    listings: list[Listing], tmp_path: Path
) -> None:
    assert not catalog.restore(tmp_path)
    catalog.write(tmp_path, listings)
    (tmp_path / catalog.FILES[3]).rename(tmp_path / "moved")
    assert not catalog.restore(tmp_path)
    for read in (catalog.read_all, catalog.read_all_or_empty, catalog.digest):
        with pytest.raises(
            MissingArtifact, match=r"3\.jsonl is missing: restore it with `git checkout HEAD -- data"
        ):
            read(tmp_path)
    (tmp_path / "moved").rename(tmp_path / catalog.FILES[3])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "data/catalog")
    git(tmp_path, "commit", "-qm", "crawl")
    assert not catalog.restore(tmp_path)
    for lost in (catalog.FILES[3:4], catalog.FILES[-1:], catalog.FILES):
        for name in lost:
            (tmp_path / name).unlink()
        assert catalog.restore(tmp_path) and catalog.read_all(tmp_path) == listings


def test_a_first_write_that_was_killed_leaves_no_catalog(listings: list[Listing], tmp_path: Path) -> None:
    kill_write(tmp_path, listings, point=15)
    assert catalog.read_all_or_empty(tmp_path) == []
    catalog.write(tmp_path, listings)
    assert catalog.read_all(tmp_path) == listings


def kill_write(root: Path, listings: list[Listing], point: int) -> None:
    """Write a catalog and end the process before the file at `point`."""
    numbers, original = count(), os.replace

    def replacing(*paths: Any) -> None:
        if next(numbers) == point:
            raise Killed
        original(*paths)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", replacing)
        catalog.write(root, listings)


def test_missing_catalog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run `dvc repro crawl`"):
        catalog.read_active(tmp_path)


@pytest.mark.parametrize(
    "line",
    ['{"hub": "x"}', "<<<<<<< HEAD", "[]", "3", '{"hub": "huggingf', "[" * 100_000, '{"id": "\\ud800"}', "NaN"],
)  # fmt: skip
def test_error_names_the_damaged_line(tmp_path: Path, line: str) -> None:
    TwoHubs(tmp_path).crawl(0)
    path = next(path for path in catalog.catalog_files(tmp_path) if path.read_text())
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], line, *lines[1:]]))
    message = rf"{path.name}, line 2 is not a valid listing .* `git checkout HEAD -- data/catalog`"
    with pytest.raises(MissingArtifact, match=message):
        catalog.read_active(tmp_path)


@pytest.fixture(scope="module")
def listings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Listing]]:
    """The listings of a catalog in which every field has a value somewhere."""
    hubs = TwoHubs(tmp_path_factory.mktemp("hubs"))
    hubs.huggingface.put(
        "a/b", 9, nsfw=True, nsfw_level="explicit", person=True, minor=False, trigger_words=("x", "é")
    )
    hubs.crawl(0)
    yield catalog.read_all(hubs.root)


@pytest.mark.slow
@pytest.mark.long(full=20_000, sample=200)
def test_any_damage_to_a_line_is_an_error_or_harmless(
    tmp_path: Path, listings: list[Listing], seed: int
) -> None:
    rng = random.Random(seed)
    row = rng.choice(listings).to_row()
    line = damage_values(row, rng) if rng.random() < 0.7 else damage_bytes(json.dumps(row), rng)
    catalog.write(tmp_path, [])
    (tmp_path / catalog.FILES[0]).write_bytes(line)
    try:
        damaged = catalog.read_all(tmp_path)
    except MissingArtifact:
        return
    scan = crawl.scan_hub(tmp_path, TwoHubs(tmp_path).huggingface, RULES, DAYS[1])
    crawl.reconcile(tmp_path, [scan], RULES, DAYS[1])
    assert [Listing.from_row(json.loads(json.dumps(listing.to_row()))) for listing in damaged] == damaged
    assert all(hash_value(listing.to_row()) and listing.digest and listing.key for listing in damaged)


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**40, 1e308, float("nan"), "", "x", "../../x", "\ud800", "2026-13-01", "2026-01-02", [],
    [None], [1], ["\udfff"], {}, {"x": 1}, [{}], "queued", "withdrawn", "explicit",
)  # fmt: skip


def damage_values(row: dict[str, Any], rng: random.Random) -> bytes:
    """Return a row's line with a few fields replaced, removed or added, in the row or in its objects."""
    objects = [row, row, row["permissions"], *row["renderings"]]
    for _ in range(rng.randint(1, 3)):
        target = rng.choice(objects)
        name = rng.choice([*target, "extra"])
        if rng.random() < 0.2:
            target.pop(name, None)
        else:
            same_type = [value for value in VALUES if type(value) is type(target.get(name))]
            target[name] = rng.choice(same_type if same_type and rng.random() < 0.7 else VALUES)
    return json.dumps(row).encode() + b"\n"


def damage_bytes(text: str, rng: random.Random) -> bytes:
    """Return a line with bytes replaced, deleted or duplicated, or with its end cut off."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 4)):
        index = rng.randrange(len(data) or 1)
        match rng.randrange(4):
            case 0:
                data[index : index + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[index : index + rng.randint(1, 40)]
            case 2:
                data[index:index] = data[index : index + rng.randint(1, 40)]
            case _:
                del data[max(1, index) :]
    return bytes(data) + b"\n"
