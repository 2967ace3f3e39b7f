"""Pretrained encoders on the loopback hub, uploaded and downloaded by the official client."""

from pathlib import Path

import pytest

from autolora.encoder.model import Encoder
from autolora.encoder.pretrained import load_pretrained, save_pretrained
from autolora.errors import MissingArtifact
from autolora.pretrained.folder import push_to_hub
from playground.hubs.state import Hub
from tests.support.pretrained_folder import FACTS, TRAINING, flip_byte


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


def test_file_that_the_hub_sends_damaged_is_noticed(folder: Path, hub: Hub) -> None:
    push_to_hub(folder, "ann/encoder", "encoder")
    hub.change({"fail": {"fault": "wrong-bytes", "kind": "weights", "hub": "huggingface", "times": 9}})
    with pytest.raises(
        MissingArtifact, match=r"model.safetensors is damaged, .* delete it there and download it"
    ):
        load_pretrained("ann/encoder")
