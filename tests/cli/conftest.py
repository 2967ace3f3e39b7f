"""Two repositories with an index, in which commands run."""

import datetime
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.records import Permissions
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    make_adapter,
    make_adapters,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)
from tests.support.tiny_sentences import teach, tiny_sentence_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with an index of three adapters: 0 and 1 differ in all that is filtered by; 2 is unknown.

    Only the author of 0 says what it does."""
    root = tmp_path_factory.mktemp("searchable")
    known = {
        "license": "it's free", "permissions": Permissions(commercial=True, derivatives=True), "nsfw": False,
        "person": False, "base": "flux.1-dev", "hub": "civitai",
        "description": ("Glass tiles", "stone"),
    }  # fmt: skip
    opposite = {
        "license": "mit", "permissions": Permissions(commercial=False, derivatives=False), "nsfw": True,
        "person": True, "base": "flux.1-krea",
    }  # fmt: skip
    later = DAY + datetime.timedelta(days=1)
    adapters = [
        make_adapter("mosaic", 0, **known),
        make_adapter("neon", 1, later, **opposite),
        make_adapter("chalk", 2, license=None),
    ]
    write_repository(root, adapters)
    write_dataset(root, replace(DATASET, test_share=0.0))
    write_encoder(root, tiny_text_encoder(root / "pipeline"))
    write_index(root)
    lines = (ROOT / "params.yaml").read_text().splitlines()
    lines = ["  pipeline: pipeline" if line.startswith("  pipeline: ") else line for line in lines]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")
    shutil.copy(ROOT / "dvc.yaml", root)
    return root


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with an index in which the first image of author0/mosaic has captions of another adapter."""
    root = tmp_path_factory.mktemp("root")
    text_encoder = tiny_text_encoder(root / "flux")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(root, text_encoder, adapters)
    write_hybrid(root, text_encoder, [with_captions_of(adapters[0], adapters[-1], images=1), *adapters[1:]])
    params = (ROOT / "params.yaml").read_text()
    (root / "params.yaml").write_text(re.sub(r"(?m)^  pipeline: \S+", f"  pipeline: {root / 'flux'}", params))
    shutil.copy(ROOT / "dvc.yaml", root)
    return root


@pytest.fixture(scope="package")
def spoken(searchable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository of three adapters with a language."""
    root = tmp_path_factory.mktemp("spoken") / "root"
    shutil.copytree(searchable, root)
    sentences = tiny_sentence_encoder(root / "sentences")
    teach(root, sentences)
    write_index(root, sentences=sentences)
    return root
