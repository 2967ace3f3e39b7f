"""Full names of listed files."""

import pytest

from autolora.catalog.names import full_name


@pytest.mark.parametrize(
    ("hub", "id", "file", "name"),
    [
        ("huggingface", "author/style", "style.safetensors", "huggingface:author/style/style.safetensors"),
        ("folder", "styles/ink", "ink.safetensors", "folder:styles/ink.safetensors"),
        ("folder", "ink", "ink.safetensors", "folder:ink.safetensors"),
        ("folder", "styles/ink.sft", "ink.sft", "folder:styles/ink.sft"),
    ],
)
def test_a_file_in_a_folder_is_named_by_a_path_that_exists(hub: str, id: str, file: str, name: str) -> None:
    assert full_name(hub, id, file) == name
