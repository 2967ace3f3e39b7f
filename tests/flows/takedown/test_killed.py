"""A takedown that is killed at any write of a file is completed by the next one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.takedown.erasure import CHANGED, ERASED, objects, take_down
from tests.support import takedown_repo as repo
from tests.support.killed_writes import Killed, kill_at

WRITES = ("replace", "truncate")


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_write_is_completed_by_the_next(copied: Callable[[str], Path]) -> None:
    reference = copied("reference")
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 10**6, WRITES)
        take_down("civitai:7")
    assert calls.count("truncate") == 4 and len(calls) > 10
    for point in range(2 * len(calls)):
        root = copied(str(point))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, point, WRITES)
            take_down("civitai:7")
        take_down(*([] if (root / CHANGED[0]).exists() else ["civitai:7"]))
        assert repo.contents(root) == ERASED, point
        assert objects(root) == objects(reference), point
        assert all((root / name).read_bytes() == (reference / name).read_bytes() for name in CHANGED), point
        shutil.rmtree(root.parent)
