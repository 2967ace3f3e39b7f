"""The encoder of a publication: compact storage, its card, use in other projects, and what does not fit."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from autolora import models
from autolora.dataset.store import training_lock
from autolora.doctor.models import Model
from autolora.encoder import store
from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import Encoder, embed_texts
from autolora.encoder.tags import TAGS, load_tags
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import AutoLoraError, MismatchError, MissingArtifact, ParamsError
from autolora.generation.collection import open_collection
from autolora.index import store as index_store
from autolora.index.tags import read_tags
from autolora.params import Params, load
from autolora.presets.encoder import ENCODER
from autolora.publication.encoder import load_published, use_published
from autolora.publication.folder import push_to_hub, write_publication
from autolora.publication.manifest import CARD, MANIFEST, TrainingSet
from autolora.storage.hashes import hash_file
from autolora.storage.incremental import read_digest
from autolora.text_encoder.clip import load_numpy_text_encoder
from playground.hubs.state import Hub
from tests.support import synthetic_repo as repo
from tests.support.published_encoder import SKETCH, TRANSFORMER, flip_byte, rewrite_json, ridge_encoder
from tests.support.tiny_flux import save_pipeline
from tests.support.tiny_sentences import WordSums

WEIGHTS = "data/encoder/model.safetensors"
METRIC = {"value": 0.75, "low": 0.59, "high": 0.89, "n": 240, "date": "2026-01-06"}
METRICS = {"retrieval.weights_theme_r_at_1_unseen": METRIC, "fusion.both_shown_gated": METRIC}
OTHER_SHA = "0" * 40


@pytest.fixture(scope="module")
def params(project: Path) -> Params:
    return load(project / "params.yaml")


@pytest.fixture
def folder(project: Path, params: Params, tmp_path: Path) -> Path:
    """Return a publication of the encoder alone."""
    path = tmp_path / "encoder"
    write_publication(
        project, params, path, license="apache-2.0", name="ann/encoder", encoder_only=True, metrics=METRICS
    )
    return path


def vectors(encoder: Encoder) -> torch.Tensor:
    """Return the vectors of random adapters."""
    size = len(encoder.config.slots), SKETCH.size, SKETCH.size
    values = torch.randn(20, *size, generator=torch.Generator().manual_seed(1))
    return encoder.embed(values, torch.ones(20, size[0], dtype=torch.bool))


def test_encoder_is_nearly_that_of_the_project(project: Path, folder: Path) -> None:
    trained, published = store.load_encoder(store.folder(project)), load_published(folder)
    loaded = published.encoder
    assert loaded.config == trained.config and not loaded.training
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    cosines = torch.cosine_similarity(vectors(trained).double(), vectors(loaded).double())
    assert 1 - float(cosines.min()) < 1e-5
    whole = sum(tensor.nbytes for tensor in trained.state_dict().values())
    assert (folder / WEIGHTS).stat().st_size < 0.22 * whole
    lock = training_lock(project).in_split("train")
    assert published.training == TrainingSet(
        adapters=len(lock), families=len(lock), train_until="2026-01-01", licenses={"apache-2.0": len(lock)}
    )
    assert published.tags is not None and published.tags.texts == ("cat", "dog")
    assert published.language is not None and published.language.model == WordSums().digest


def test_transformer_is_stored_in_half_precision(tmp_path: Path) -> None:
    config = EncoderConfig(
        transformer=TRANSFORMER, variant=replace(ENCODER["paper"], heads=4), width=16,
        sketch_size=None, sketch_key=None, text_encoder="",
    )  # fmt: skip
    trained = TransformerEncoder(config).eval()
    store.save_encoder(tmp_path, trained, is_compact=True)
    loaded = store.load_encoder(tmp_path).state_dict()
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(
            loaded[name], tensor.half().to(tensor.dtype), rtol=0, atol=0, equal_nan=True
        )


def test_values_that_are_too_large_for_half_precision_are_an_error(tmp_path: Path) -> None:
    large = ridge_encoder("digest")
    large.mean.fill_(1e6)
    with pytest.raises(MismatchError, match="values of its tensor mean are too large"):
        store.save_encoder(tmp_path, large, is_compact=True)


def test_pipeline_beside_the_encoder_is_its_text_encoder(folder: Path, params: Params) -> None:
    published = load_published(folder)
    own = replace(params.models, pipeline=str(published.pipeline))
    assert models.load_text_encoder(own).digest == published.encoder.config.text_encoder
    assert models.transformer_config(own) == models.transformer_config(params.models)
    names = {path.name for path in (folder / "pipeline").iterdir()}
    assert names == {"text_encoder", "tokenizer", "tokenizer.json", "transformer"}


def test_the_text_encoder_beside_the_encoder_needs_no_transformers(
    folder: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = load_published(folder)
    own = replace(params.models, pipeline=str(published.pipeline))
    expected = models.load_text_encoder(own).encode(["a cat"])
    monkeypatch.setitem(sys.modules, "transformers", None)
    text_encoder = load_numpy_text_encoder(tmp_path, own, published.tokenizers)
    assert np.allclose(text_encoder.encode(["a cat"]), expected, atol=1e-5)
    with pytest.raises(MissingArtifact, match="transformers"):
        load_numpy_text_encoder(tmp_path, own)


def test_pipeline_with_another_text_encoder_changes_nothing(
    project: Path, params: Params, folder: Path, tmp_path: Path
) -> None:
    other = replace(params.models, pipeline=str(save_pipeline(tmp_path / "other")))
    (tmp_path / "other/text_encoder/more").touch()
    with pytest.raises(MismatchError, match="trained with a different text encoder than that of models"):
        write_publication(project, replace(params, models=other), folder, encoder_only=True)
    load_published(folder)


def test_card_states_training_set_metrics_and_license(project: Path, folder: Path) -> None:
    card = ModelCard.load(folder / CARD)
    assert card.data.license == "apache-2.0" and card.data.library_name == "autolora"
    assert "search" not in card.data.tags
    for text in (
        "adapters of", "first seen up to 2026-01-01", "| apache-2.0 |", "from: ann/encoder",
        "| 0.75 | 0.59 to 0.89 | 240 | 2026-01-06 |", "for flux and",
    ):  # fmt: skip
        assert text in card.text
    assert "both adapters" not in card.text and str(project) not in card.content


def test_card_without_metrics_or_training_set_says_so(root: Path, tmp_path: Path) -> None:
    encoder = store.load_encoder(store.folder(root))
    store.write_encoder_digest(root, encoder, {"file": "0"}, adapters=0, texts=0)
    write_publication(root, load(root / "params.yaml"), tmp_path / "out", encoder_only=True)
    card = (tmp_path / "out" / CARD).read_text()
    assert "Not measured." in card and "Unknown: the encoder was imported" in card
    assert "base_model:" not in card and "license:" not in card


def test_license_of_a_hub_stays_one_cell(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"sha256": row.sha256, "license": "mit | 9 |\n# free"}
        for row in training_lock(root).in_split("train")
    ]
    monkeypatch.setattr("autolora.publication.folder.dataset.rows", lambda *_: rows)
    write_publication(root, load(root / "params.yaml"), tmp_path / "out", encoder_only=True)
    assert f"| mit \\| 9 \\| # free | {len(rows)} |\n" in (tmp_path / "out" / CARD).read_text()


def test_the_doctor_finds_a_published_encoder(folder: Path) -> None:
    assert Model(folder.name, None, "encoder.from").is_folder(folder.parent)


def test_an_encoder_alone_is_no_collection(folder: Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"a publication without an index: .*autolora index FOLDER --encoder"
    ):
        open_collection(folder)


def rewrite_model(folder: Path, **changes: object) -> None:
    """Change the config of the encoder, and its hash, as its publisher can."""
    path = folder / "data/encoder/config.json"
    rewrite_json(path, lambda content: content.update(changes))
    rewrite_json(
        folder / MANIFEST, lambda c: c["files"].update({"data/encoder/config.json": hash_file(path)})
    )


DAMAGE: dict[str, tuple[Callable[[Path], object], type[AutoLoraError], str]] = {
    "no manifest": (
        lambda path: (path / MANIFEST).unlink(), MissingArtifact, "contains no publication.json, so it is not",
    ),
    "no JSON": (
        lambda path: (path / MANIFEST).write_text("{"), MissingArtifact, "is not the manifest of a publication",
    ),
    "no sha256": (
        lambda path: rewrite_json(path / MANIFEST, lambda c: c.update(files=[WEIGHTS])), MissingArtifact,
        "is not the manifest of a publication",
    ),
    "path outside": (
        lambda path: rewrite_json(path / MANIFEST, lambda c: c["files"].update({"pipeline/../../x": "0"})),
        MissingArtifact, "names files outside its folder",
    ),
    "other layout": (
        lambda path: rewrite_json(path / MANIFEST, lambda c: c.update(schema=99)), MismatchError,
        "its layout is 99, expected 3",
    ),
    "no encoder": (
        lambda path: rewrite_json(path / MANIFEST, lambda c: c.update(encoder=None)), MissingArtifact,
        "is a publication without an encoder",
    ),
    "weights without a hash": (
        lambda path: rewrite_json(path / MANIFEST, lambda c: c["files"].pop(WEIGHTS)), MissingArtifact,
        "is a publication without an encoder",
    ),
    "other model": (
        lambda path: rewrite_model(path, width=32), MismatchError, "do not fit the config.json beside them",
    ),
    "unknown field": (
        lambda path: rewrite_model(path, extra=1), MissingArtifact, "holds no valid encoder",
    ),
    "no weights": (
        lambda path: (path / WEIGHTS).unlink(), MissingArtifact, "model.safetensors is missing, but publication",
    ),
    "damaged weights": (
        lambda path: flip_byte(path / WEIGHTS), MissingArtifact, "model.safetensors is damaged",
    ),
    "damaged tags": (
        lambda path: flip_byte(path / "data/encoder" / TAGS), MissingArtifact, "tags.safetensors is damaged",
    ),
    "damaged tokenizer": (
        lambda path: flip_byte(path / "pipeline/tokenizer/tokenizer.json"), MissingArtifact,
        "tokenizer.json is damaged",
    ),
    "other text encoder": (
        lambda path: rewrite_model(path, text_encoder="x" * 64), MismatchError, "different text encoder than the",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folder_is_an_error_that_says_what_to_do(folder: Path, name: str) -> None:
    damage, kind, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(kind, match=message):
        load_published(folder)


@pytest.mark.parametrize("source", ["./nothing", "~/nothing", "nothing", Path("some/folder")])
def test_source_that_is_neither_folder_nor_id_is_an_error(source: str | Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"neither an existing folder nor a Hugging Face id \(owner/name\)"
    ):
        load_published(source)


def test_wrong_base_sketch_or_text_encoder_is_an_error(folder: Path) -> None:
    published = load_published(folder)
    text_encoder = published.encoder.config.text_encoder
    published.check_fits({**TRANSFORMER, "guidance_embeds": True}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"for another base model \(.*num_layers 1, .*, but .* num_layers 19"
    ):
        published.check_fits(TRANSFORMER | {"num_layers": 19}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"reads sketches of the kind .*/8, but the pool has .*/32: set pool.sk"
    ):
        published.check_fits(TRANSFORMER, text_encoder, 32)
    with pytest.raises(MismatchError, match=r"different text encoder \(digest .* set models.pipeline"):
        published.check_fits(TRANSFORMER, "another digest", SKETCH.size)


def test_stage_uses_a_published_encoder_without_a_training_set(
    tmp_path: Path, root: Path, folder: Path, params: Params
) -> None:
    section = replace(params.encoder, from_=str(folder))
    bounds = replace(params.pool, sketch_size=SKETCH.size)
    text_encoder = models.load_text_encoder(params.models)

    def use() -> dict[str, Any]:
        use_published(tmp_path, section, TRANSFORMER, text_encoder, bounds)
        return read_digest(tmp_path, "encoder")

    digest, published = use(), load_published(folder)
    assert (digest["adapters"], digest["texts"]) == (published.training.adapters, 0)
    loaded = store.load_encoder(store.folder(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in published.encoder.state_dict().items())
    assert load_tags(store.folder(tmp_path)) is not None
    assert use() == digest
    store.save_encoder(store.folder(root), ridge_encoder(text_encoder.digest, rank=3))
    write_publication(root, params, folder, encoder_only=True)
    assert use()["sha256"] != digest["sha256"]
    assert load_tags(store.folder(tmp_path)) is None


@pytest.mark.slow
def test_adapters_without_images_are_found_by_an_encoder_of_another_project(
    tmp_path: Path, params: Params
) -> None:
    base = replace(params.models, pipeline=str(save_pipeline(tmp_path / "flux")))
    text_encoder, own, other = models.load_text_encoder(base), tmp_path / "own", tmp_path / "other"
    repo.write_repository(other, repo.make_adapters())
    repo.write_dataset(other)
    repo.write_encoder(other, text_encoder, repo.encoder_params())
    trained, tags = store.load_encoder(store.folder(other)), load_tags(store.folder(other))
    write_publication(other, replace(params, models=base), tmp_path / "encoder", encoder_only=True)

    adapters = [
        replace(adapter, captions=(), listing=replace(adapter.listing, renderings=()))
        for adapter in repo.make_adapters(authors=(7, 8))
    ]
    repo.write_repository(own, adapters)
    repo.write_dataset(own)
    section = replace(repo.encoder_params(), from_=str(tmp_path / "encoder"))
    use_published(own, section, repo.CONFIG, text_encoder, repo.BOUNDS)
    repo.write_index(own, text_encoder=text_encoder)
    assert tags is not None and all(read_tags(own)[adapter.sha256] for adapter in adapters)

    names, rows = index_store.read_vectors(own)
    themes = {adapter.sha256: adapter.theme for adapter in adapters}
    prompts = embed_texts(trained, text_encoder, [f"a {theme} drawing" for theme in repo.THEMES])
    assert [themes[names[row]] for row in (prompts @ rows.T).argmax(1)] == list(repo.THEMES)


def test_stage_leaves_the_present_encoder_if_the_published_one_does_not_fit(
    tmp_path: Path, folder: Path, params: Params
) -> None:
    bounds = replace(params.pool, sketch_size=SKETCH.size)
    section = replace(params.encoder, from_=str(folder))
    text_encoder = models.load_text_encoder(params.models)
    with pytest.raises(MismatchError, match="another base model"):
        use_published(tmp_path, section, TRANSFORMER | {"num_layers": 2}, text_encoder, bounds)
    assert not store.folder(tmp_path).exists()


def test_id_without_a_revision_is_an_error_in_params(tmp_path: Path, params: Params) -> None:
    section = replace(params.encoder, from_="owner/encoder")
    with pytest.raises(ParamsError, match=r"encoder.from is owner/encoder, .* set encoder.from_revision"):
        use_published(tmp_path, section, TRANSFORMER, models.load_text_encoder(params.models), params.pool)


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


def test_upload_and_download_by_the_official_client(folder: Path, hub: Hub) -> None:
    commit = push_to_hub(folder, "ann/encoder")
    assert commit == hub.repos["ann/encoder"].head.sha
    for revision in (commit, None):
        published = load_published("ann/encoder", revision)
        assert published.folder.name == commit
        assert published.files == load_published(folder).files
    assert hub.repos["ann/encoder"].head.card["tags"] == ["autolora", "lora", "flux"]


def test_second_upload_replaces_and_removes_files(root: Path, params: Params, folder: Path, hub: Hub) -> None:
    first = push_to_hub(folder, "ann/encoder")
    assert push_to_hub(folder, "ann/encoder") == first
    (store.folder(root) / TAGS).unlink()
    write_publication(root, params, folder, encoder_only=True)
    second = push_to_hub(folder, "ann/encoder")
    assert load_published("ann/encoder", first).tags and load_published("ann/encoder", second).tags is None
    assert not [name for name in hub.repos["ann/encoder"].head.blobs if re.search(TAGS, name)]


def test_damaged_folder_is_not_uploaded(folder: Path, hub: Hub) -> None:
    flip_byte(folder / WEIGHTS)
    with pytest.raises(MissingArtifact, match="is damaged"):
        push_to_hub(folder, "ann/encoder")
    assert "ann/encoder" not in hub.repos


def test_file_that_the_hub_sends_damaged_is_noticed(folder: Path, hub: Hub) -> None:
    push_to_hub(folder, "ann/encoder")
    hub.change({"fail": {"fault": "wrong-bytes", "kind": "weights", "hub": "huggingface", "times": 9}})
    with pytest.raises(MissingArtifact, match=r"\.safetensors is damaged, .* delete it there"):
        load_published("ann/encoder")
