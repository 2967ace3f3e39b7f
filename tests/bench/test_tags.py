"""Tags of unseen adapters, measured on a synthetic repository."""

import json
import shutil
from pathlib import Path

import pytest

from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from bench.tags import measure
from tests.index.test_tags import make_index

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_unseen_adapters_are_measured(tmp_path: Path) -> None:
    adapters = make_index(tmp_path)
    shutil.copy(PARAMS, tmp_path)
    themes = {adapter.sha256: {"theme": adapter.theme} for adapter in adapters}
    (tmp_path / "playground").mkdir()
    (tmp_path / "playground" / "themes.json").write_text(json.dumps(themes))
    rows = {row.name: row for row in measure(tmp_path)}
    trained = dataset.training_lock(tmp_path).in_split("train")
    first = rows["tags.first_names_theme_unseen"]
    assert first.n == len(adapters) - len(trained) > 0 and first.value > 0.5
    assert rows["tags.right_unseen"].n == 3 * first.n


def test_without_tags_there_is_nothing_to_measure(tmp_path: Path) -> None:
    make_index(tmp_path)
    (tmp_path / "data/encoder/tags.safetensors").unlink()
    with pytest.raises(MissingArtifact, match="no adapter outside"):
        list(measure(tmp_path))
