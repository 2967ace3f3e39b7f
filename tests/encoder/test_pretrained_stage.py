"""The stage `encoder` with a pretrained encoder, and the params that name one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from autolora import models
from autolora.encoder import stage, store
from autolora.encoder.model import embed_texts
from autolora.encoder.pretrained import load_pretrained, save_pretrained
from autolora.encoder.tags import load_tags
from autolora.errors import MismatchError, ParamsError
from autolora.index import store as index_store
from autolora.index.tags import read_tags
from autolora.params import load
from autolora.pretrained.training_set import read_training_set
from autolora.storage.incremental import read_digest
from tests.support import synthetic_repo as repo
from tests.support.pretrained_folder import (
    FACTS,
    SKETCH,
    TRAINING,
    TRANSFORMER,
    ridge_encoder,
)

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")
OTHER_SHA = "0" * 40


def test_stage_uses_a_pretrained_encoder_without_a_training_set(
    tmp_path: Path, folder: Path, base: models.ModelsParams
) -> None:
    params = replace(SHIPPED.encoder, from_=str(folder))
    bounds = replace(SHIPPED.pool, sketch_size=SKETCH.size)
    text_encoder = models.load_text_encoder(base)

    def use() -> dict[str, Any]:
        stage.use_pretrained(tmp_path, params, TRANSFORMER, text_encoder, bounds)
        return read_digest(tmp_path, "encoder")

    digest = use()
    assert (digest["adapters"], digest["texts"]) == (5, 0)
    loaded, expected = store.load_encoder(store.folder(tmp_path)), load_pretrained(folder).encoder
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in expected.state_dict().items())
    assert use() == digest
    save_pretrained(folder, ridge_encoder(text_encoder.digest, rank=3), TRAINING, FACTS)
    assert use()["sha256"] != digest["sha256"]


@pytest.mark.slow
def test_adapters_without_images_are_found_by_an_encoder_of_another_project(tmp_path: Path) -> None:
    text_encoder, own, other = repo.tiny_text_encoder(tmp_path), tmp_path / "own", tmp_path / "other"
    repo.write_repository(other, repo.make_adapters())
    repo.write_dataset(other)
    repo.write_encoder(other, text_encoder, repo.encoder_params())
    trained = store.load_encoder(store.folder(other))
    training = read_training_set(other, "encoder")
    tags = load_tags(store.folder(other))
    save_pretrained(tmp_path / "encoder", trained, training, FACTS, tags=tags, dtype="int8", rank=64)

    adapters = [
        replace(adapter, captions=(), listing=replace(adapter.listing, renderings=()))
        for adapter in repo.make_adapters(authors=(7, 8))
    ]
    repo.write_repository(own, adapters)
    repo.write_dataset(own)
    params = replace(repo.encoder_params(), from_=str(tmp_path / "encoder"))
    stage.use_pretrained(own, params, repo.CONFIG, text_encoder, repo.BOUNDS)
    repo.write_index(own, text_encoder=text_encoder)
    assert tags is not None and all(read_tags(own)[adapter.sha256] for adapter in adapters)

    names, rows = index_store.read_vectors(own)
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    prompts = embed_texts(trained, text_encoder, [f"a {theme} drawing" for theme in repo.THEMES])
    assert [themes[names[row]] for row in (prompts @ rows.T).argmax(1)] == list(repo.THEMES)


def test_stage_leaves_the_present_encoder_if_the_pretrained_one_does_not_fit(
    tmp_path: Path, folder: Path, base: models.ModelsParams
) -> None:
    bounds = replace(SHIPPED.pool, sketch_size=SKETCH.size)
    params = replace(SHIPPED.encoder, from_=str(folder))
    other = TRANSFORMER | {"num_layers": 2}
    with pytest.raises(MismatchError, match="another base model"):
        stage.use_pretrained(tmp_path, params, other, models.load_text_encoder(base), bounds)
    assert not store.folder(tmp_path).exists()


def test_id_without_a_revision_is_an_error_in_params(tmp_path: Path, base: models.ModelsParams) -> None:
    params = replace(SHIPPED.encoder, from_="owner/encoder")
    with pytest.raises(ParamsError, match=r"encoder.from is owner/encoder, .* set encoder.from_revision"):
        stage.use_pretrained(tmp_path, params, TRANSFORMER, models.load_text_encoder(base), SHIPPED.pool)


def test_params_have_from_as_a_key(tmp_path: Path) -> None:
    content = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    content["encoder"] |= {"from": "owner/encoder", "from_revision": OTHER_SHA}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    section = load(tmp_path / "params.yaml").encoder
    assert (section.from_, section.from_revision) == ("owner/encoder", OTHER_SHA)
    content["encoder"]["from_"] = content["encoder"].pop("from")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=r"unknown key 'encoder.from_'; allowed here: from, from_revision"):
        load(tmp_path / "params.yaml")
