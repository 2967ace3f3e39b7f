"""The data of the page's script."""

import re
from pathlib import Path

from tests.report.parsed_page import read_page, script_data
from tests.support.report_root import HOSTILE


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


def test_each_image_is_embedded_once(full: Path) -> None:
    data = script_data(full)
    in_markup = set(re.findall(r'data-image="(\d+)"', read_page(full)))
    used = {str(image["number"]) for adapter in data["adapters"] for image in adapter["images"]}
    assert used == in_markup | data["images"].keys()
    assert not in_markup & data["images"].keys()
