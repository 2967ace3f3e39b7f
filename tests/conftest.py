"""Which tests run: suites (tests/support/suites.py), and long tests (tests/support/soak.py). A tiny text encoder."""

import os
from itertools import compress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import BaseWSGIServer

from tests.support.soak import each_seed, run_seeds, soak
from tests.support.suites import LIMITS_S, SUITES, is_core, order, suite_of

if TYPE_CHECKING:
    from autolora.models import ClipTextEncoder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --suite, --soak and --seed."""
    parser.addoption("--suite", choices=[*SUITES, "all"], help="run only the tests of a suite")
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


@pytest.hookimpl(trylast=True)  # after tests/integration has marked its tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that the options ask for, in the order of their suite, and limit the time of each."""
    asked = [is_asked(item, config) for item in items]
    config.hook.pytest_deselected(items=[item for item, kept in zip(items, asked, strict=True) if not kept])
    items[:] = compress(items, asked)
    if (suite := config.getoption("suite")) in SUITES:
        items.sort(key=lambda item: order(item, suite))
    for item in items:
        limits = [seconds for marker, seconds in LIMITS_S.items() if item.get_closest_marker(marker)]
        if config.getoption("soak"):
            item.add_marker(pytest.mark.timeout(0), append=False)
        elif limits and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(limits)))


def is_asked(item: pytest.Item, config: pytest.Config) -> bool:
    """Return whether a test runs: a long test with --soak or --seed, one of --suite, or one of -m.

    Without options these are the quick tests, those marked `core`, and all of a file or test that is named.
    """
    if config.getoption("soak") or config.getoption("seed") is not None:
        return item.get_closest_marker("long") is not None
    if (suite := config.getoption("suite")) is not None:
        return suite in ("all", suite_of(item))
    named = {(config.invocation_params.dir / name.partition("::")[0]).resolve() for name in config.args}
    return bool(config.getoption("markexpr")) or is_core(item) or item.path in named


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
