"""The pages of models on their hubs."""

from pathlib import Path

from autolora.hubs.pages import page_of
from autolora.params import load

HUBS = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml").hubs


def test_hub_page_lies_below_the_endpoint_of_the_hub() -> None:
    assert page_of(HUBS, "civitai", "618692") == "https://civitai.com/models/618692"
    assert page_of(HUBS, "huggingface", "a/b") == "https://huggingface.co/a/b"
    assert page_of(HUBS, "modelscope", "a/b") == "https://modelscope.cn/models/a/b"
    assert page_of(HUBS, "folder", "a") is None
    assert page_of(HUBS, "huggingface", 'a"><script>?#') == "https://huggingface.co/a%22%3E%3Cscript%3E%3F%23"
