"""A repository with an index."""

import shutil
from pathlib import Path

import pytest

from autolora.models import ClipTextEncoder
from tests.support.synthetic_repo import (
    ENCODER,
    SyntheticAdapter,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)


@pytest.fixture(scope="session")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder
) -> tuple[Path, list[SyntheticAdapter]]:
    """Return a repository with an index of four themes by three authors, and its adapters."""
    root = tmp_path_factory.mktemp("indexed")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk", "pixel"))
    write_repository(root, adapters)
    write_dataset(root)
    write_encoder(root, text_encoder, ENCODER)
    write_index(root)
    return root, adapters


@pytest.fixture
def root(tmp_path: Path, indexed: tuple[Path, list[SyntheticAdapter]]) -> Path:
    """Return a copy of the indexed repository."""
    shutil.copytree(indexed[0], tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def adapters(indexed: tuple[Path, list[SyntheticAdapter]]) -> list[SyntheticAdapter]:
    """Return the indexed adapters."""
    return list(indexed[1])
