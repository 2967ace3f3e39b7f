"""A repository with a corpus."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.params import ModelsParams
from tests.concepts.corpora import encoded, write_files
from tests.concepts.repository import CAPTIONS, Repository
from tests.support import small_root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelsParams]:
    root = tmp_path_factory.mktemp("built")
    base = small_root.base(root)
    small_root.build(root, base)
    return root, base


@pytest.fixture
def repository(built: tuple[Path, ModelsParams], tmp_path: Path) -> Repository:
    root, base = built
    shutil.copytree(root / "data", tmp_path / "data")
    files: dict[str, bytes | str] = {f"{name}.png": encoded(int(name)) for name in CAPTIONS}
    write_files(tmp_path / "corpus", files | {f"{name}.txt": text for name, text in CAPTIONS.items()})
    params = replace(
        small_root.params().concepts, corpus="corpus", image_size=32, min_images=2, max_share=0.5,
        noise_levels=(0.5,), batch=2,
    )  # fmt: skip
    return Repository(tmp_path, base, params)
