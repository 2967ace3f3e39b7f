"""Pretrained encoders: folders, compact storage, model cards, hubs, and the stage that uses one."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from autolora import models
from autolora.encoder import stage, store
from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import Encoder, embed_texts
from autolora.encoder.pretrained import load_pretrained, save_pretrained
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import AutoLoraError, HubError, MismatchError, MissingArtifact, ParamsError
from autolora.index import store as index_store
from autolora.params import load
from autolora.presets import ENCODER
from autolora.pretrained.training_set import read_training_set
from autolora.pretrained.upload import push_to_hub
from autolora.storage.incremental import read_digest
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support import synthetic_repo as repo
from tests.support.hf_client import point_at
from tests.support.pretrained_folder import (
    FACTS,
    SKETCH,
    TRAINING,
    TRANSFORMER,
    flip_byte,
    rewrite_config,
    ridge_encoder,
)
from tests.support.tiny_flux import save_pipeline
from tests.support.tiny_pool import make_pool

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")
OTHER_SHA = "0" * 40


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> models.ModelsParams:
    """Return params with the tiny pipeline."""
    folder = save_pipeline(tmp_path_factory.getbasetemp() / "tiny-flux")
    return replace(SHIPPED.models, pipeline=str(folder), threads=1)


@pytest.fixture(scope="module")
def encoder(base: models.ModelsParams) -> Encoder:
    return ridge_encoder(models.load_text_encoder(base).digest)


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder, base: models.ModelsParams) -> Path:
    """Return the folder of a pretrained encoder with its pipeline."""
    path = tmp_path / "encoder"
    save_pretrained(path, encoder, TRAINING, FACTS, dtype="float16", rank=5, pipeline=base)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that the official client talks to."""
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        point_at(monkeypatch, endpoint, tmp_path / "cache")
        yield hub


def vectors(encoder: Encoder) -> torch.Tensor:
    """Return the vectors of random adapters."""
    size = len(encoder.config.slots), SKETCH.size, SKETCH.size
    values = torch.randn(20, *size, generator=torch.Generator().manual_seed(1))
    return encoder.embed(values, torch.ones(20, size[0], dtype=torch.bool))


def transformer_config(preset: str) -> EncoderConfig:
    """Return the config of a small transformer, on weights (paper) or on sketches (best)."""
    variant = replace(ENCODER[preset], model="transformer", heads=4, hybrid=False)
    is_sketch = variant.probe == "sketch"
    return EncoderConfig(
        transformer=TRANSFORMER,
        variant=variant,
        width=16,
        dropout=0.0,
        sketch_size=SKETCH.size if is_sketch else None,
        sketch_key=SKETCH.key if is_sketch else None,
        text_encoder="",
    )


def test_whole_float32_encoder_is_loaded_exactly(tmp_path: Path, encoder: Encoder) -> None:
    config = save_pretrained(tmp_path / "encoder", encoder, TRAINING, FACTS)
    pretrained = load_pretrained(tmp_path / "encoder")
    assert pretrained.config == config
    assert (config.rank, config.weights_error, config.training) == (None, 0.0, TRAINING)
    assert pretrained.encoder.config == encoder.config
    assert not pretrained.encoder.training and pretrained.pipeline is None
    loaded = pretrained.encoder.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("preset", ["paper", "best"])
def test_transformer_is_loaded_as_it_was_stored(tmp_path: Path, preset: str) -> None:
    trained = TransformerEncoder(transformer_config(preset)).eval()
    save_pretrained(tmp_path / "encoder", trained, TRAINING, FACTS)
    loaded = load_pretrained(tmp_path / "encoder").encoder
    pairs = zip(loaded.state_dict().items(), trained.state_dict().items(), strict=True)
    assert all(a == b and x.equal(y) for (a, x), (b, y) in pairs if a != "relevance")
    if preset == "best":
        torch.testing.assert_close(vectors(loaded), vectors(trained), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "rank", "stored_rank", "distance", "share"),
    [
        ("float16", None, None, 1e-5, 0.51),
        ("float32", 64, 5, 1e-11, 0.40),
        ("float16", 64, 5, 1e-5, 0.22),
        ("int8", 64, 5, 1e-3, 0.15),
        ("float16", 4, 4, 0.5, 0.20),
    ],
)
def test_compact_encoder_gives_nearly_the_same_vectors(
    tmp_path: Path, encoder: Encoder, dtype: Any, rank: int | None, stored_rank: int | None, distance: float,
    share: float,
) -> None:  # fmt: skip
    """share: of the bytes of the whole weights in float32, an upper limit."""
    config = save_pretrained(tmp_path / "encoder", encoder, TRAINING, FACTS, dtype=dtype, rank=rank)
    loaded = load_pretrained(tmp_path / "encoder").encoder
    cosines = torch.cosine_similarity(vectors(encoder).double(), vectors(loaded).double())
    assert 1 - float(cosines.min()) < distance
    assert config.rank == stored_rank
    whole = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    assert (tmp_path / "encoder/model.safetensors").stat().st_size < share * whole
    errors = [
        float((loaded.state_dict()[name] - tensor).norm() / tensor.norm())
        for name, tensor in encoder.state_dict().items()
        if tensor.dtype == torch.float32 and tensor.any()
    ]
    assert config.weights_error == pytest.approx(max(errors))
    assert torch.equal(loaded.relevance, encoder.relevance)


def test_rank_and_int8_that_do_not_apply_are_errors(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(MismatchError, match="this encoder is a transformer: leave it out"):
        save_pretrained(
            tmp_path / "a", TransformerEncoder(transformer_config("paper")), TRAINING, FACTS, rank=4
        )
    with pytest.raises(MismatchError, match="int8 stores factors, so it needs their rank"):
        save_pretrained(tmp_path / "a", encoder, TRAINING, FACTS, dtype="int8")
    large = ridge_encoder("digest")
    large.mean.fill_(1e6)
    with pytest.raises(MismatchError, match="tensor mean has values that are too large for float16"):
        save_pretrained(tmp_path / "a", large, TRAINING, FACTS, dtype="float16")
    assert not (tmp_path / "a").exists()


def test_pipeline_beside_the_encoder_is_its_text_encoder(folder: Path, base: models.ModelsParams) -> None:
    pretrained = load_pretrained(folder)
    assert pretrained.pipeline == folder / "pipeline"
    own = replace(base, pipeline=str(pretrained.pipeline))
    assert models.load_text_encoder(own).digest == pretrained.encoder.config.text_encoder
    assert models.transformer_config(own) == models.transformer_config(base)
    names = {path.name for path in (folder / "pipeline").iterdir()}
    assert names == {"text_encoder", "tokenizer", "transformer"}


def test_pipeline_with_another_text_encoder_changes_nothing(folder: Path, base: models.ModelsParams) -> None:
    with pytest.raises(MismatchError, match="trained with a different text encoder than that of models"):
        save_pretrained(folder, ridge_encoder("other"), TRAINING, FACTS, pipeline=base)
    assert load_pretrained(folder).pipeline is not None


def test_card_states_training_set_metrics_and_license(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "black-forest-labs/FLUX.1-dev"
    assert card.data.library_name == "autolora"
    assert "autolora-encoder" in card.data.tags
    for text in (
        "5 adapters of 4 families", "first seen up to 2026-01-05", "| cc-by-nc-4.0 | 2 |",
        "| 0.75 | 0.59 to 0.89 | 240 | 2026-01-06 |", "Weights in float16", "rank 5", "from: ann/encoder",
    ):  # fmt: skip
        assert text in card.text
    assert "both adapters" not in card.text


def test_card_without_metrics_or_training_set_says_so(tmp_path: Path, encoder: Encoder) -> None:
    unknown = replace(TRAINING, adapters=0, families=0, train_until=None, licenses={})
    save_pretrained(tmp_path / "encoder", encoder, unknown, replace(FACTS, metrics={}, base_model=None))
    card = (tmp_path / "encoder/README.md").read_text()
    assert "Not measured." in card and "Unknown: the model was imported" in card
    assert "base_model:" not in card


def test_license_of_a_hub_stays_one_cell(tmp_path: Path, encoder: Encoder) -> None:
    training = replace(TRAINING, licenses={"mit | 9 |\n# free": 5})
    save_pretrained(tmp_path / "encoder", encoder, training, FACTS)
    assert "| mit \\| 9 \\| # free | 5 |\n" in (tmp_path / "encoder/README.md").read_text()


def test_folder_with_other_content_is_left_alone(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MismatchError, match="is not empty and does not hold a pretrained encoder"):
        save_pretrained(tmp_path, encoder, TRAINING, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_earlier_encoder_is_replaced(folder: Path, encoder: Encoder) -> None:
    save_pretrained(folder, encoder, TRAINING, FACTS)
    assert load_pretrained(folder).pipeline is None
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingArtifact, match="give a folder that can be written"):
        save_pretrained(tmp_path / "file/encoder", encoder, TRAINING, FACTS)


DAMAGE: dict[str, tuple[Callable[[Path], object], type[AutoLoraError], str]] = {
    "no config": (
        lambda path: (path / "config.json").unlink(), MissingArtifact, r"contains no config.json, so it does not hold",
    ),
    "no JSON": (
        lambda path: (path / "config.json").write_text("{"), MissingArtifact, "is not the config of a pretrained",
    ),
    "a stage's encoder": (
        lambda path: (path / "config.json").write_text('{"width": 16}'), MissingArtifact, "publish-encoder FOLDER",
    ),
    "unknown field": (
        lambda path: rewrite_config(path, lambda c: c.update(extra=1)), MissingArtifact, "is not the config",
    ),
    "path outside": (
        lambda path: rewrite_config(path, lambda c: c["files"].update({"pipeline/../../x": "0"})), MissingArtifact,
        "otherwise files in pipeline/",
    ),
    "other layout": (
        lambda path: rewrite_config(path, lambda c: c.update(schema=99)), MismatchError,
        "has layout 99, but this version of AutoLoRA reads layout 1",
    ),
    "other kind": (
        lambda path: rewrite_config(path, lambda c: c.update(kind="gates")), MismatchError,
        "holds pretrained gates, expected a pretrained encoder",
    ),
    "other model": (
        lambda path: rewrite_config(path, lambda c: c["model"].update(width=32)), MismatchError,
        "do not fit the config.json beside them",
    ),
    "no weights": (
        lambda path: (path / "model.safetensors").unlink(), MissingArtifact, "model.safetensors is missing, but config",
    ),
    "damaged weights": (
        lambda path: flip_byte(path / "model.safetensors"), MissingArtifact, "model.safetensors is damaged",
    ),
    "damaged tokenizer": (
        lambda path: flip_byte(path / "pipeline/tokenizer/tokenizer.json"), MissingArtifact,
        "tokenizer.json is damaged",
    ),
    "other text encoder": (
        lambda path: rewrite_config(path, lambda c: c["model"].update(text_encoder="x" * 64)), MismatchError,
        "different text encoder than the one in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folder_is_an_error_that_says_what_to_do(folder: Path, name: str) -> None:
    damage, kind, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(kind, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("source", ["./nothing", "~/nothing", "nothing", Path("some/folder")])
def test_source_that_is_neither_folder_nor_id_is_an_error(source: str | Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"neither an existing folder nor a Hugging Face id \(owner/name\)"
    ):
        load_pretrained(source)


def test_wrong_base_sketch_or_text_encoder_is_an_error(folder: Path) -> None:
    pretrained = load_pretrained(folder)
    text_encoder = pretrained.encoder.config.text_encoder
    pretrained.check_fits({**TRANSFORMER, "guidance_embeds": True}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"for another base model \(.*num_layers 1, .*, but .* num_layers 19"
    ):
        pretrained.check_fits(TRANSFORMER | {"num_layers": 19}, text_encoder, SKETCH.size)
    with pytest.raises(
        MismatchError, match=r"reads sketches of the kind .*/8, but the pool has .*/32: set pool.sk"
    ):
        pretrained.check_fits(TRANSFORMER, text_encoder, 32)
    with pytest.raises(MismatchError, match=r"different text encoder \(digest .* set models.pipeline"):
        pretrained.check_fits(TRANSFORMER, "another digest", SKETCH.size)


def test_upload_and_download_by_the_official_client(folder: Path, hub: Hub, encoder: Encoder) -> None:
    commit = push_to_hub(folder, "ann/encoder", "encoder")
    assert commit == hub.repos["ann/encoder"].head.sha
    for revision in (commit, None):
        pretrained = load_pretrained("ann/encoder", revision)
        assert pretrained.folder.name == commit
        assert pretrained.config == load_pretrained(folder).config
        assert pretrained.pipeline is not None
    assert hub.repos["ann/encoder"].head.card["tags"] == ["autolora", "autolora-encoder", "lora", "flux"]


def test_second_upload_replaces_and_removes_files(folder: Path, hub: Hub, encoder: Encoder) -> None:
    first = push_to_hub(folder, "ann/encoder", "encoder")
    assert push_to_hub(folder, "ann/encoder", "encoder") == first
    save_pretrained(folder, encoder, TRAINING, FACTS)
    second = push_to_hub(folder, "ann/encoder", "encoder")
    assert set(hub.repos["ann/encoder"].head.blobs) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    assert load_pretrained("ann/encoder", first).pipeline is not None
    assert load_pretrained("ann/encoder", second).pipeline is None


def test_damaged_folder_is_not_uploaded(folder: Path, hub: Hub) -> None:
    flip_byte(folder / "model.safetensors")
    with pytest.raises(MissingArtifact, match="is damaged"):
        push_to_hub(folder, "ann/encoder", "encoder")
    assert "ann/encoder" not in hub.repos


def test_upload_without_a_token_is_an_error(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(
        HubError, match=r"cannot upload .* to ann/encoder: Client error '401 .*; check .*HF_TOKEN"
    ):
        push_to_hub(folder, "ann/encoder", "encoder")


def test_unknown_id_and_revision_are_errors(folder: Path, hub: Hub) -> None:
    push_to_hub(folder, "ann/encoder", "encoder")
    with pytest.raises(HubError, match="nobody/encoder does not exist on Hugging Face, or is private"):
        load_pretrained("nobody/encoder")
    for revision in (OTHER_SHA, "v9"):
        with pytest.raises(HubError, match=f"ann/encoder has no revision {revision}"):
            load_pretrained("ann/encoder", revision)


def test_file_that_the_hub_sends_damaged_is_noticed(folder: Path, hub: Hub) -> None:
    push_to_hub(folder, "ann/encoder", "encoder")
    hub.change({"fail": {"fault": "wrong-bytes", "kind": "weights", "hub": "huggingface", "times": 9}})
    with pytest.raises(
        MissingArtifact, match=r"model.safetensors is damaged .* delete it there and download it"
    ):
        load_pretrained("ann/encoder")


def test_hub_that_cannot_be_reached_is_an_error_unless_the_commit_is_cached(folder: Path, hub: Hub) -> None:
    commit = push_to_hub(folder, "ann/encoder", "encoder")
    load_pretrained("ann/encoder", commit)
    hub.stop()
    assert load_pretrained("ann/encoder", commit).folder.name == commit
    with pytest.raises(
        HubError, match=r"cannot download eve/encoder@main: Got: ConnectError: .*; check .*HF_ENDPOINT"
    ):
        load_pretrained("eve/encoder")


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


def test_adapters_without_images_are_found_by_an_encoder_of_another_project(tmp_path: Path) -> None:
    text_encoder, own, other = repo.tiny_text_encoder(tmp_path), tmp_path / "own", tmp_path / "other"
    repo.write_repository(other, repo.make_adapters())
    repo.write_dataset(other)
    repo.write_encoder(other, text_encoder, repo.encoder_params())
    trained = store.load_encoder(store.folder(other))
    training = read_training_set(other, "encoder")
    save_pretrained(tmp_path / "encoder", trained, training, FACTS, dtype="int8", rank=64)

    adapters = [
        replace(adapter, captions=(), listing=replace(adapter.listing, renderings=()))
        for adapter in repo.make_adapters(authors=(7, 8))
    ]
    repo.write_repository(own, adapters)
    repo.write_dataset(own)
    params = replace(repo.encoder_params(), from_=str(tmp_path / "encoder"))
    stage.use_pretrained(own, params, repo.CONFIG, text_encoder, repo.BOUNDS)
    repo.write_index(own, text_encoder=text_encoder)

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


def test_copy_of_the_folder_is_as_good(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert load_pretrained(tmp_path / "copy").config == load_pretrained(folder).config
