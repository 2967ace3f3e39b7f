"""The pages of models on their hubs."""

from dataclasses import replace
from pathlib import Path

from autolora.hubs.pages import local_hub, page_of
from autolora.params import load

HUBS = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml").hubs


def test_hub_page_lies_below_the_endpoint_of_the_hub() -> None:
    assert page_of(HUBS, "civitai", "618692") == "https://civitai.com/models/618692"
    assert page_of(HUBS, "huggingface", "a/b") == "https://huggingface.co/a/b"
    assert page_of(HUBS, "modelscope", "a/b") == "https://modelscope.cn/models/a/b"
    assert page_of(HUBS, "folder", "a") is None
    assert page_of(HUBS, "huggingface", 'a"><script>?#') == "https://huggingface.co/a%22%3E%3Cscript%3E%3F%23"


def test_a_hub_of_this_machine_has_no_pages() -> None:
    demo = replace(HUBS, huggingface=replace(HUBS.huggingface, endpoint="http://127.0.0.1:8765"))
    assert page_of(demo, "huggingface", "a/b") is None
    assert local_hub(demo, "huggingface") == "http://127.0.0.1:8765"
    assert local_hub(HUBS, "huggingface") is local_hub(HUBS, "folder") is None
