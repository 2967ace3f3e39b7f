"""Operators after a first release and a few nights; each test has a copy."""

from pathlib import Path

import pytest

from tests.support.nights import Nights, live


@pytest.fixture(scope="session")
def operators(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Nights]:
    """Return the operators with full history that long tests have needed so far, by seed."""
    return {}


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Return an operator after two nights."""
    return live(tmp_path_factory.mktemp("lived") / "root", 7, nights=2)


@pytest.fixture
def bed(lived: Nights, tmp_path: Path) -> Nights:
    """Return a copy of the operator after two nights."""
    return lived.copied(tmp_path / "root", "test")
