"""The tags of the adapters of an index: of unseen adapters without captions too."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from autolora.encoder.paths import folder
from autolora.encoder.tag_fitting import contains
from autolora.encoder.tags import TAGS, describe_tags, load_tags
from autolora.index.served import open_index
from autolora.index.tags import open_tags, read_tags, read_tags_of
from autolora.models import load_text_encoder
from autolora.params import load
from autolora.show.facts import facts
from autolora.show.lookup import lookup
from autolora.show.record_json import record_json
from autolora.storage.incremental import digest_path
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    encoder_params,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)
from tests.support.tiny_pool import RULES

THEMES = ("watercolour", "mosaic", "neon", "cat", "snow", "clock")
"""words that the playground's text encoder knows"""
AUTHORS = (0, 1, 2, 3, 4, 5)


def make_index(root: Path) -> list[SyntheticAdapter]:
    """Write a repository with an index, and return its adapters."""
    adapters = make_adapters(authors=AUTHORS, themes=THEMES)
    write_repository(root, adapters)
    write_dataset(root)
    text_encoder = load_text_encoder(load(Path(__file__).parents[2] / "params.yaml").models)
    write_encoder(root, text_encoder, encoder_params())
    write_index(root, text_encoder=text_encoder)
    return adapters


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SyntheticAdapter]]:
    """Return an indexed repository and its adapters."""
    root = tmp_path_factory.mktemp("indexed")
    return root, make_index(root)


def test_tags_name_the_themes_of_adapters(indexed: tuple[Path, list[SyntheticAdapter]]) -> None:
    root, adapters = indexed
    tags = read_tags(root)
    assert tags.keys() == {adapter.sha256 for adapter in adapters}
    right = [tags[adapter.sha256][0].text == adapter.theme for adapter in adapters]
    assert np.mean(right) > 0.8  # chance is below 1/6
    for adapter in adapters[:3]:
        assert read_tags_of(root, adapter.sha256) == tags[adapter.sha256]
    assert read_tags_of(root, "0" * 64) == ()


def test_show_states_the_tags_of_an_adapter(indexed: tuple[Path, list[SyntheticAdapter]]) -> None:
    root, adapters = indexed
    tags = read_tags(root)[adapters[0].sha256]
    record = lookup(root, adapters[0].sha256, RULES)
    assert facts(record)["tags (by the weights)"] == describe_tags(tags)
    assert record_json(record)["tags"] == [{"text": tag.text, "probability": tag.probability} for tag in tags]


def test_probabilities_are_shares_of_right_tags(indexed: tuple[Path, list[SyntheticAdapter]]) -> None:
    root, adapters = indexed
    tags = read_tags(root)
    pairs = [
        (tag.probability, contains([caption.text for caption in adapter.captions], tag.text))
        for adapter in adapters
        for tag in tags[adapter.sha256]
    ]
    stated, right = map(np.array, zip(*pairs, strict=True))
    assert abs(stated.mean() - right.mean()) < 0.15


def test_no_tags_without_an_index_or_an_encoder_that_has_some(
    indexed: tuple[Path, list[SyntheticAdapter]], tmp_path: Path
) -> None:
    assert read_tags(tmp_path) == {} and read_tags_of(tmp_path, "0" * 64) == ()
    root = tmp_path / "root"
    shutil.copytree(indexed[0], root)
    sha256 = indexed[1][0].sha256
    digest = digest_path(root, "encoder")
    digest.write_text(digest.read_text().replace('"weights": "', '"weights": "0'))
    assert read_tags(root) == {} and read_tags_of(root, sha256) == ()  # vectors of another encoder
    assert open_tags(root, open_index(root)) is None and open_tags(indexed[0], open_index(root)) is not None
    assert load_tags(folder(root)) is not None
    (folder(root) / TAGS).unlink()
    assert read_tags(root) == {} and read_tags_of(root, sha256) == ()
