"""Names, hub pages and sizes of adapters."""

from pathlib import Path

import pytest

from autolora.params import load
from autolora.report.naming import display_name, file_size, file_stem, page_of

HUBS = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml").hubs


@pytest.mark.parametrize(
    ("id", "file", "expected"),
    [
        ("author/name", "x.safetensors", ("name", "author")),
        ("618692", "deep/ink.safetensors", ("ink", "model 618692")),
        ("name", "x.safetensors", ("name", "")),
    ],
)
def test_adapter_is_named_by_its_id_or_file(id: str, file: str, expected: tuple[str, str]) -> None:
    assert display_name(id, file) == expected
    assert file_stem("a/b.safetensors") == "b"


def test_hub_page_lies_below_the_endpoint_of_the_hub() -> None:
    assert page_of(HUBS, "civitai", "618692") == "https://civitai.com/models/618692"
    assert page_of(HUBS, "huggingface", "a/b") == "https://huggingface.co/a/b"
    assert page_of(HUBS, "modelscope", "a/b") == "https://modelscope.cn/models/a/b"
    assert page_of(HUBS, "folder", "a") is None
    assert page_of(HUBS, "huggingface", 'a"><script>?#') == "https://huggingface.co/a%22%3E%3Cscript%3E%3F%23"


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 bytes"), (1500, "1.5 kB"), (172_000_000, "172 MB"), (2_000_000_000, "2.0 GB")]
)
def test_size_has_two_or_three_digits(size: int, text: str) -> None:
    assert file_size(size) == text
