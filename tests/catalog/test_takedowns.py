"""The list of takedowns: what it matches, what it makes of listings, and damaged lines."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.errors import MissingArtifact, RefusedFile
from autolora.records import ListedRendering
from tests.support.takedown_repo import DAY, DOG, INK, OTHER, OWN, listing

INK_FILE = Takedown(
    kind="weights", sha256=INK, hub="civitai", id="7", file="lora.safetensors", reason="asked", date=DAY
)
OWN_IMAGE = replace(INK_FILE, kind="rendering", sha256=OWN, file=f"http://127.0.0.1:1/{OWN}", md5=("a" * 32,))
LIST = Takedowns((INK_FILE, OWN_IMAGE))


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert takedowns.read(tmp_path) == Takedowns()
    takedowns.write(tmp_path, LIST)
    assert takedowns.read(tmp_path) == LIST
    takedowns.write(tmp_path, LIST.with_rows([replace(INK_FILE, sha256=DOG)]))
    assert len(takedowns.read(tmp_path).rows) == 3


@pytest.mark.parametrize("row", ['{"kind": "weights"}', '{"kind": "sketch"}', "[]", "{"])
def test_a_damaged_line_is_named(tmp_path: Path, row: str) -> None:
    takedowns.write(tmp_path, LIST)
    with takedowns.takedowns_path(tmp_path).open("a") as stream:
        stream.write(f"{row}\n")
    with pytest.raises(MissingArtifact, match=r"line 3 is not .*git checkout"):
        takedowns.read(tmp_path)


def test_a_file_matches_by_sha256_on_every_hub() -> None:
    assert LIST.of_listing(listing("modelscope", "x", INK)) == INK_FILE
    assert LIST.of_listing(listing("civitai", "7", DOG)) is None, "a new version is another file"


def test_a_file_without_a_reported_sha256_matches_by_name() -> None:
    assert LIST.of_listing(listing("civitai", "7", None)) == INK_FILE
    assert LIST.of_listing(listing("civitai", "8", None)) is None
    unknown = Takedowns((replace(INK_FILE, sha256=None),))
    assert unknown.of_listing(listing("civitai", "7", DOG)), "its sha256 was not known at the takedown"


def test_an_image_matches_by_sha256_or_url() -> None:
    by_url = listing("civitai", "9", DOG, (OWN, OTHER)).renderings
    by_sha256 = ListedRendering(url="http://127.0.0.1:1/moved", sha256=OWN, prompt=None)
    assert [bool(LIST.of_rendering(image)) for image in (*by_url, by_sha256)] == [True, False, True]


def test_a_listing_of_the_file_is_withdrawn_on_the_day_of_the_takedown() -> None:
    withdrawn = LIST.apply(replace(listing("civitai", "7", INK, (OWN,)), stale_since=DAY))
    assert (withdrawn.status, withdrawn.withdrawn, withdrawn.stale_since) == ("withdrawn", DAY, None)
    assert LIST.apply(withdrawn) == withdrawn
    earlier = replace(withdrawn, withdrawn=DAY - datetime.timedelta(days=3))
    assert LIST.apply(earlier) == earlier, "the hub withdrew it before"


def test_images_are_left_out_of_other_listings() -> None:
    shown = listing("civitai", "9", DOG, (OWN, OTHER))
    deferred = replace(
        shown, renderings=shown.renderings[1:], deferred_renderings=((0, shown.renderings[0]),)
    )
    for before in (shown, deferred):
        after = LIST.apply(before)
        assert after.renderings == shown.renderings[1:] and not after.deferred_renderings
    assert LIST.apply(listing("civitai", "9", DOG, (OTHER,))).is_active


def test_a_repeated_takedown_keeps_the_first_reason() -> None:
    assert LIST.with_rows([replace(INK_FILE, reason="again", date=DAY.replace(month=7))]) == LIST


def test_a_download_is_refused() -> None:
    with pytest.raises(RefusedFile, match=r"taken down .*asked \(2026-01-05\)"):
        LIST.check("weights", INK)
    LIST.check("rendering", INK)
    LIST.check("weights", DOG)
