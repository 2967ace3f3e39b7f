"""Suites: each test is in exactly one, `core` has what its marks say, and a run without a suite is a quick one."""

from pathlib import Path

import pytest

from tests.support.programs import require
from tests.support.suites import CORE, LIMITS_S, PLACES, SUITES
from tests.support.waiting import LIMIT_S

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]
CONFTEST = (ROOT / "tests/conftest.py").read_text()
FILES = {
    "tests/pool/test_any.py": ["", "slow", "core slow", "slow long(full=2,sample=1)"],
    "tests/flows/test_engine.py": ["", "slow"],
    "tests/flows/test_evict.py": ["slow", "slow core"],
    "tests/integration/test_refresh.py": ["integration core", "integration"],
    "tests/integration/test_releases.py": ["integration", "integration timeout(7)"],
    "tests/integration/test_vllm.py": ["integration"],
    "tests/studies/test_paper.py": ["", "slow"],
}
"""file -> marks of each of its tests"""
QUICK = {"test_any 0", "test_any 2", "test_engine 0", "test_evict 1", "test_refresh 0"}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A repository with those tests; each has the number of its marks in the table as its name."""
    markers = "\n    ".join(("slow", "core", "integration", "long(full, sample)"))
    pytester.makeini(f"[pytest]\naddopts = --strict-markers\ntestpaths = tests\nmarkers =\n    {markers}")
    pytester.makeconftest(CONFTEST)
    for name, tests in FILES.items():
        (path := pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        lines = ["import pytest"]
        for number, marks in enumerate(tests):
            lines += [*(f"@pytest.mark.{mark}" for mark in marks.split()), f"def test_{number}(): pass"]
        path.write_text("\n".join(lines))
    return pytester


def collected(project: pytest.Pytester, *options: str) -> list[pytest.Item]:
    """Return the tests that a run with some options has, in their order."""
    session = project.inline_run("--collect-only", *options).getcalls("pytest_collection_finish")[0].session
    return list(session.items)


def names(items: list[pytest.Item]) -> list[str]:
    """Return each test as FILE NUMBER."""
    return [f"{item.path.stem} {item.name.removeprefix('test_')}" for item in items]


def test_each_test_is_in_exactly_one_suite(project: pytest.Pytester) -> None:
    parts = {suite: names(collected(project, "--suite", suite)) for suite in SUITES}
    assert set(parts.pop(CORE)) == QUICK
    assert parts == {
        "nights": ["test_engine 1", "test_refresh 1"],
        "releases": ["test_releases 0", "test_releases 1", "test_evict 0"],
        "rooms": ["test_any 1", "test_any 3"],
        "study": ["test_paper 0", "test_paper 1"],
        "vllm": ["test_vllm 0"],
    }
    everything = names(collected(project, "--suite", "all"))
    assert sorted(everything) == sorted([*QUICK, *(name for part in parts.values() for name in part)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], QUICK | {"test_paper 0"}),
        (["tests/flows"], {"test_engine 0", "test_evict 1"}),
        (["tests/flows/test_evict.py"], {"test_evict 0", "test_evict 1"}),
        (["tests/flows/test_engine.py::test_1", "tests/pool"], {"test_engine 1", "test_any 0", "test_any 2"}),
        (["-m", "slow", "tests/flows"], {"test_engine 1", "test_evict 0", "test_evict 1"}),
        (["--suite", "nights", "tests/flows"], {"test_engine 1"}),
    ],
)
def test_a_run_has_the_quick_tests_or_what_is_named(
    options: list[str], expected: set[str], project: pytest.Pytester
) -> None:
    assert set(names(collected(project, *options))) == expected


def limits(items: list[pytest.Item]) -> dict[str, tuple[int, ...] | None]:
    """Return test -> its seconds; None if it has those of pyproject.toml."""
    marks = [item.get_closest_marker("timeout") for item in items]
    return dict(zip(names(items), [mark and mark.args for mark in marks], strict=True))


def test_slow_tests_have_more_time_unless_they_say_how_much(project: pytest.Pytester) -> None:
    found = limits(collected(project, "--suite", "all"))
    assert found["test_any 0"] is None
    assert found["test_any 1"] == (LIMITS_S["slow"],)
    assert found["test_releases 0"] == (LIMITS_S["integration"],)
    assert found["test_releases 1"] == (7,)


def test_a_soak_has_no_limit(project: pytest.Pytester) -> None:
    assert limits(collected(project, "--soak")) == {"test_any 3": (0,)}


def test_a_test_that_hangs_fails(project: pytest.Pytester, pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("timeout")) > LIMIT_S
    path = project.path / "tests/pool/test_hanging.py"
    code = "import pytest, threading\n@pytest.mark.timeout(0.1)\ndef test_0(): threading.Event().wait()"
    path.write_text(code)
    project.inline_run(str(path)).assertoutcome(failed=1)


def test_each_path_of_a_suite_exists() -> None:
    assert [path for paths in SUITES.values() for path in paths if not (ROOT / path).exists()] == []


def test_each_path_is_in_one_suite() -> None:
    assert len(PLACES) == sum(len(paths) for name, paths in SUITES.items() if name != CORE)


def test_a_missing_program_skips_a_test_but_fails_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs chromium: apt-get install chromium"):
        require(False, "chromium")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(AssertionError, match="chromium is missing"):
        require(False, "chromium")
    require(True, "chromium")
