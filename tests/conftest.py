"""Long tests (tests/support/soak.py): the marker `long` and the options --soak and --seed. A tiny text encoder."""

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import BaseWSGIServer

from tests.support.soak import each_seed, run_seeds, soak

if TYPE_CHECKING:
    from autolora.models import ClipTextEncoder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --soak and --seed."""
    parser.addoption("--soak", action="store_true", help="run only the long tests, with all their seeds")
    parser.addoption("--seed", type=int, help="run only the long tests, with this seed")


def pytest_configure(config: pytest.Config) -> None:
    """Give Prefect a folder per process, and shorten two waits that no test is about.

    Prefect's servers cannot create one database together, and users have profiles.
    """
    home = TemporaryDirectory(prefix="prefect-", ignore_cleanup_errors=True)
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", home.name)
    patch.setattr(os, "fsync", lambda descriptor: None)  # no test cuts the power
    patch.setattr(BaseWSGIServer.serve_forever, "__defaults__", (0.02,))  # seconds until a server stops
    for undo in (home.cleanup, patch.undo):
        config.add_cleanup(undo)


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> "ClipTextEncoder":
    """Return a tiny text encoder of random weights; torch is imported only by the tests that use it."""
    from tests.support.synthetic_repo import tiny_text_encoder

    return tiny_text_encoder(tmp_path_factory.mktemp("text_encoder"))


@pytest.fixture
def seed() -> int:
    """Placeholder for the argument `seed` of long tests; `pytest_pyfunc_call` replaces it by each seed in turn."""
    return 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect all other tests if --soak or --seed is given."""
    if config.getoption("soak") or config.getoption("seed") is not None:
        short = [item for item in items if item.get_closest_marker("long") is None]
        config.hook.pytest_deselected(items=short)
        items[:] = [item for item in items if item not in short]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a long test once per seed; return None for other tests, which pytest then calls."""
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
