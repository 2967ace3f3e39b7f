"""The data of the page's script."""

import shutil
from pathlib import Path

import pytest

from autolora.lora.remedies import REMEDIES
from autolora.report.page import assemble
from tests.report.parsed_page import script_data
from tests.support.report_root import HOSTILE, write_pool

PROFILE = Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml"


def test_script_data_hold_captions_images_and_neighbors(full: Path) -> None:
    data = script_data(full)
    adapters = data["adapters"]
    assert [adapter["accepted"] for adapter in adapters] == [True] * 12 + [False] * 2
    assert all(
        adapter["verdict"].startswith("refused (pickle): The file is a pickle") for adapter in adapters[12:]
    )
    adapter = next(adapter for adapter in adapters if adapter["sha256"] == f"{1:064x}")
    assert [length for length, _ in adapter["images"][0]["captions"]] == ["short", "medium", "long"]
    assert adapter["images"][0]["prompt"] == "a prompt " + HOSTILE
    assert adapter["theme"] == "mosaic"
    assert adapter["full_name"] == f"huggingface:{adapter['id']}/lora.safetensors"
    assert adapters[adapter["duplicates"][0]]["sha256"] == f"{0:064x}"
    neighbors = {source: len(nearest) for source, nearest in adapter["neighbors"].items()}
    assert neighbors == {"index": 4, "raw sketch": 4}
    assert len(data["heatmap"]["order"]) == 12


def test_script_data_hold_the_check_of_captions_against_weights(full: Path) -> None:
    adapters = {adapter["sha256"]: adapter for adapter in script_data(full)["adapters"]}
    checks = [adapters[f"{number:064x}"]["check"] for number in range(14)]
    assert checks == [
        *["agree"] * 3, "disagree", "agree", "disagree", *["agree"] * 5, None, None, None
    ]  # fmt: skip
    assert adapters[f"{3:064x}"]["check_verdict"].startswith(
        "captions disagree with the weights (cosine 0.25"
    )
    assert adapters[f"{11:064x}"]["check_verdict"] is None


def test_script_data_hold_the_tags_of_adapters(full: Path) -> None:
    adapters = {adapter["sha256"]: adapter for adapter in script_data(full)["adapters"]}
    assert adapters[f"{1:064x}"]["tags"].startswith("mosaic (99%)")
    assert adapters[f"{0:064x}"]["tags"] is None and adapters[f"{13:064x}"]["tags"] is None


def test_each_image_is_embedded_once_with_its_size(full: Path) -> None:
    data = script_data(full)
    used = {image["number"] for adapter in data["adapters"] for image in adapter["images"]}
    assert used == set(range(len(data["images"]))) and len(used) == 24
    assert {(width, height) for _, width, height, _ in data["images"]} == {(64, 64)}


def test_large_pool_has_the_first_caption_of_each_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pool(tmp_path, adapters=2)
    monkeypatch.setattr("autolora.report.browser.MAX_FULL_TEXTS", 1)
    assemble(tmp_path)
    images = [image for adapter in script_data(tmp_path)["adapters"] for image in adapter["images"]]
    assert [(image["prompt"], len(image["captions"])) for image in images] == [(None, 1)] * 4
    assert images[0]["captions"][0][0] == "short"


def test_hub_pages_are_links_below_the_hubs_of_the_params(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=4)
    shutil.copy(PROFILE, tmp_path / "params.yaml")
    (tmp_path / "playground").mkdir()
    (tmp_path / "profiles").mkdir()
    shutil.copy(PROFILE.with_name("themes.json"), tmp_path / "profiles")
    assemble(tmp_path)
    adapters = {adapter["sha256"]: adapter for adapter in script_data(tmp_path)["adapters"]}
    assert adapters[f"{0:064x}"]["page"] == "https://huggingface.co/author0/cat"
    hostile = adapters[f"{3:064x}"]["page"]
    assert hostile.startswith("https://huggingface.co/author3/") and not set("<>\"' ") & set(hostile)
    refused = adapters[f"{5:064x}"]
    assert refused["remedy"] == REMEDIES["pickle"] and adapters[f"{0:064x}"]["remedy"] is None
