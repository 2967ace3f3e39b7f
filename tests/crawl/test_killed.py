"""A crawl that is killed while it writes the catalog."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.catalog.diff import BASELINE, keep_baseline
from autolora.crawl import stage as crawl
from autolora.crawl import watermarks
from tests.support.two_hubs import DAYS, INCREMENTAL, TwoHubs

RULES = replace(INCREMENTAL, max_new_files=20)


class Killed(BaseException):
    """The process ends here."""


def killing(point: int) -> Callable[..., None]:
    """Return os.replace for a process that ends before (even points) or after (odd points) the `point // 2`-th call."""
    numbers, original = count(), os.replace

    def call(*paths: Any) -> None:
        is_last = next(numbers) == point // 2
        if not is_last or point % 2:
            original(*paths)
        if is_last:
            raise Killed

    return call


def test_a_crawl_that_is_killed_between_two_files_is_completed_by_the_next(tmp_path: Path) -> None:
    """No listing is lost or listed twice, and watermarks of the former catalog do not count."""
    hubs = TwoHubs(tmp_path / "start")
    hubs.crawl(0, RULES)
    (hubs.root / BASELINE).unlink()
    keep_baseline(hubs.root)  # the next refresh begins
    hubs.put_many(30, first_hour=30)
    hubs.huggingface.put("ann/ink", 29, license="cc0-1.0")
    before = catalog.read_all(hubs.root)
    shutil.copytree(hubs.root, tmp_path / "reference")
    hubs.root = tmp_path / "reference"
    hubs.crawl(1, RULES)
    after = catalog.read_all(hubs.root)
    digests = {catalog.digest(tmp_path / name) for name in ("start", "reference")}
    mixed = 0
    for point in count():
        hubs.root = tmp_path / str(point)
        shutil.copytree(tmp_path / "start", hubs.root)
        scans = [hubs.scan(hub, 1, RULES) for hub in (hubs.huggingface, hubs.civitai)]
        plan = crawl.reconcile(hubs.root, scans, RULES, DAYS[1])
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "replace", killing(point))
                crawl.write(hubs.root, plan)
        except Killed:
            left = catalog.read_all(hubs.root)
            assert {*left} <= {*before, *after} and {row.id for row in before} <= {row.id for row in left}
            assert len({(row.hub, row.id, row.file) for row in left}) == len(left)
            if catalog.digest(hubs.root) not in digests:
                mixed += 1
                assert watermarks.read(hubs.root) == {}, "the whole lists are read again"
            hubs.crawl(1, RULES)
            assert catalog.read_all(hubs.root) == after, "the night admits no more files"
        else:
            break
    assert mixed > 10
