"""The catalog file: missing, damaged, and with arbitrary damage to a line."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.hashes import hash_value
from tests.support.two_hubs import DAYS, RULES, TwoHubs


def test_missing_catalog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run `dvc repro crawl`"):
        catalog.read_active(tmp_path)


@pytest.mark.parametrize(
    "line",
    ['{"hub": "x"}', "<<<<<<< HEAD", "[]", "3", '{"hub": "huggingf', "[" * 100_000, '{"id": "\\ud800"}', "NaN"],
)  # fmt: skip
def test_error_names_the_damaged_line(tmp_path: Path, line: str) -> None:
    TwoHubs(tmp_path).crawl(0)
    path = catalog.catalog_path(tmp_path)
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(MissingArtifact, match="line 2 is not a valid listing"):
        catalog.read_active(tmp_path)


@pytest.fixture(scope="module")
def listings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Listing]]:
    """The listings of a catalog in which every field has a value somewhere."""
    hubs = TwoHubs(tmp_path_factory.mktemp("hubs"))
    hubs.huggingface.put(
        "a/b", 9, nsfw=True, nsfw_level="explicit", person=True, minor=False, trigger_words=("x", "é")
    )
    yield list(hubs.crawl(0).values())


@pytest.mark.slow
@pytest.mark.long(full=20_000, sample=200)
def test_any_damage_to_a_line_is_an_error_or_harmless(
    tmp_path: Path, listings: list[Listing], seed: int
) -> None:
    rng = random.Random(seed)
    row = rng.choice(listings).to_row()
    line = damage_values(row, rng) if rng.random() < 0.7 else damage_bytes(json.dumps(row), rng)
    path = catalog.catalog_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(line)
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
