"""Suites: each test is in exactly one, and runs with the others of it in at most 15 minutes on two cores.

`core`, which `make test` runs, has every quick test, and those that are marked `core`. Every other test is in the
suite of the longest path of SUITES that leads to it. A new test therefore needs no entry.

    python -m tests.support.suites      prints the suites that `make test-all` runs after `core`
"""

from pathlib import PurePosixPath

import pytest

CORE, STUDY, VLLM = "core", "study", "vllm"
SUITES = {
    CORE: (
        "tests/integration/test_refresh.py", "tests/integration/test_errors.py", "tests/web/browser/test_search.py",
        "tests/local/test_commands.py", "tests/test_processes.py", "tests/integration/test_takedown.py",
        "tests/web/test_serve_command.py", "tests/doctor",
    ),
    "nights": (
        "tests/integration/test_reproduction.py", "tests/integration/test_first_nights.py",
        "tests/integration/test_ray.py", "tests/flows/test_engine.py", "tests/integration/test_alarms.py",
        "tests/integration",
    ),
    "releases": (
        "tests/integration/test_releases.py", "tests/flows/test_evict.py", "tests/flows/test_dvc.py",
        "tests/integration/test_versions.py", "tests/integration/test_evicted.py",
        "tests/integration/test_takedown_releases.py", "tests/integrity", "tests/flows", "tests/releases",
        "tests/publication",
    ),
    "rooms": (
        "tests/test_processes.py", "tests/local/test_training.py", "tests/bench/test_hub_size.py",
        "tests/pool/test_hub_faults.py", "tests/web/browser/test_accessibility.py", "tests/fusion", "tests/planning",
        "tests/local", "tests",
    ),
    STUDY: ("tests/studies",),
    VLLM: ("tests/integration/test_vllm.py",),
}  # fmt: skip
"""suite -> files and folders, in the order in which they run: the longest first, because a worker takes whole files.

Those of `core` are an order only. In `nights` and `releases` the first file makes the first day, and the next ones
do not need it, so that no worker waits.
"""
PLACES = {path: name for name, paths in SUITES.items() if name != CORE for path in paths}
LIMITS_S = {"integration": 1800, "slow": 600}
"""marker -> seconds that a test may take together with its fixtures, else `timeout` of pyproject.toml: a test fails
if it hangs, not if the machine is slow. The first day, of 100 s, took 780 s at a load of 12."""


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test is neither slow nor an integration test."""
    return not any(item.get_closest_marker(name) for name in ("slow", "integration"))


def is_core(item: pytest.Item) -> bool:
    """Return whether a test is quick, or marked `core`."""
    return is_quick(item) or item.get_closest_marker(CORE) is not None


def file_of(item: pytest.Item) -> str:
    """Return the file of a test, relative to the repository."""
    return item.nodeid.partition("::")[0]


def longest(paths: tuple[str, ...], file: str) -> str | None:
    """Return the longest of some paths that is the file or a folder of it; None if none is."""
    found = [path for path in paths if PurePosixPath(file).is_relative_to(path)]
    return max(found, key=len, default=None)


def suite_of(item: pytest.Item) -> str:
    """Return the suite of a test."""
    place = longest(tuple(PLACES), file_of(item))
    assert place is not None, f"{file_of(item)} is outside tests/: add its folder to tests/support/suites.py"
    suite = PLACES[place]
    return CORE if suite != STUDY and is_core(item) else suite


def order(item: pytest.Item, suite: str) -> int:
    """Return the place of a test's file in the order of a suite; files that the suite does not name come last."""
    paths = SUITES[suite]
    place = longest(paths, file_of(item))
    return len(paths) if place is None else paths.index(place)


if __name__ == "__main__":
    print(*(name for name in SUITES if name not in (CORE, VLLM)))
