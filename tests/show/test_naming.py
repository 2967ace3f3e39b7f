"""Names and sizes of adapters."""

import pytest

from autolora.show.naming import display_name, file_size, file_stem


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


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 bytes"), (1500, "1.5 kB"), (172_000_000, "172 MB"), (2_000_000_000, "2.0 GB")]
)
def test_size_has_two_or_three_digits(size: int, text: str) -> None:
    assert file_size(size) == text
