"""Tests in two sizes (tests/support/soak.py): the marker `long`, and the options --soak and --seed."""

import pytest

from tests.support.soak import each_seed, run_seeds, soak


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --soak and --seed."""
    parser.addoption("--soak", action="store_true", help="run long tests only, with all their seeds")
    parser.addoption("--seed", type=int, help="run long tests with this seed only")


@pytest.fixture
def seed() -> int:
    """What a long test is called with; the real ones are put in its place, one after the other."""
    return 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has one size only, where sizes matter."""
    if config.getoption("soak") or config.getoption("seed") is not None:
        short = [item for item in items if item.get_closest_marker("long") is None]
        config.hook.pytest_deselected(items=short)
        items[:] = [item for item in items if item not in short]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a long test once a seed; leave every other test to pytest."""
    mark = pyfuncitem.get_closest_marker("long")
    if mark is None:
        return None
    call, config = each_seed(pyfuncitem), pyfuncitem.config
    seed, full, sample = config.getoption("seed"), mark.kwargs["full"], mark.kwargs["sample"]
    if seed is not None:
        run_seeds(call, range(seed, seed + 1))
    elif config.getoption("soak"):
        soak(call, full, pyfuncitem.nodeid, config.rootpath)
    else:
        run_seeds(call, range(sample))
    return True
