"""A git and DVC repository with a local remote, made once and copied by each test."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.takedown.erasure import enter
from tests.support import takedown_repo as repo


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository `repo` and its remote `store`, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    repo.make_repository(folder / "repo", "../store")
    return folder


@pytest.fixture
def copied(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """A function that copies the template, hard links included, and makes the copy the current repository."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767571200")

    def copy(name: str) -> Path:
        subprocess.run(["cp", "-a", str(template), str(tmp_path / name)], check=True)
        return enter(tmp_path / name / "repo", monkeypatch)

    yield copy


@pytest.fixture
def root(copied: Callable[[str], Path]) -> Path:
    return copied("copy")
