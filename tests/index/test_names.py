"""The names of adapters: beginnings of a sha256, ids on hubs, and names of several adapters or none."""

import pytest

from autolora.errors import MissingArtifact
from autolora.index.names import AdapterNames
from autolora.storage.files import Row


def row(sha256: str, hub: str, id: str, file: str) -> Row:
    return {"sha256": sha256, "hub": hub, "id": id, "file": file}


ROWS = [
    row("a1" * 32, "civitai", "618692", "a.st"),
    row("b2" * 32, "huggingface", "ann/cat", "b.st"),
    row("b2b2b2" + "0" * 58, "huggingface", "ann/cat", "c.st"),
    row("618692" + "f" * 58, "folder", "dog", "d.st"),
    row("", "huggingface", "ann/new", "e.st"),
]


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("a1" * 32, [0]),
        ("A1a1A1", [0]),
        ("a1a1a", []),
        ("b2b2b2", [1, 2]),
        ("b2b2b20", [2]),
        ("b2b2b3", []),
        ("ffffff", []),
        ("civitai:618692", [0]),
        ("civitai:618692/a.st", [0]),
        ("618692", [0, 3]),
        ("ann/cat", [1, 2]),
        ("huggingface:ann/cat", [1, 2]),
        ("ann/cat/c.st", [2]),
        ("civitai:ann/cat", []),
        ("ann/CAT", []),
        ("ann/new", [4]),
        ("", []),
    ],
)
def test_names_are_beginnings_of_sha256_and_ids(name: str, positions: list[int]) -> None:
    assert AdapterNames(ROWS).find_all(name) == positions


def test_a_name_of_one_adapter_has_its_position() -> None:
    assert AdapterNames(ROWS).find_one("ann/cat/c.st") == 2


def test_a_name_of_several_adapters_is_an_error_that_lists_them() -> None:
    with pytest.raises(
        MissingArtifact,
        match=r"several adapters are called 'ann/cat'.*b2b2b2b2 \(b\.st\), b2b2b200 \(c\.st\)",
    ):
        AdapterNames(ROWS).find_one("ann/cat")


def test_a_name_of_no_adapter_is_an_error_that_says_what_names_are() -> None:
    with pytest.raises(MissingArtifact, match=r"no adapter 'x/y': give a sha256 .* or an id on a hub"):
        AdapterNames(ROWS).find_one("x/y")


class CountedRow(dict[str, str]):
    """A row that counts how often its fields are read."""

    reads = 0

    def __getitem__(self, name: str) -> str:
        type(self).reads += 1
        return super().__getitem__(name)


def test_a_name_is_not_compared_with_every_row() -> None:
    names = AdapterNames([CountedRow(fields) for fields in ROWS])
    CountedRow.reads = 0
    assert names.find_all("b2b2b2") == [1, 2] and names.find_all("ann/cat") == [1, 2]
    assert CountedRow.reads == 0


def test_a_file_in_a_folder_is_named_by_its_path() -> None:
    names = AdapterNames(
        [{"sha256": "c" * 64, "hub": "folder", "id": "styles/ink", "file": "ink.safetensors"}]
    )
    for name in (
        "styles/ink",
        "folder:styles/ink",
        "styles/ink.safetensors",
        "folder:styles/ink.safetensors",
    ):
        assert names.find_all(name) == [0]
    assert names.find_all("styles/ink/ink.safetensors") == []


@pytest.mark.parametrize("name", ["", " ", ":0.8"])
def test_an_empty_name_is_said_to_be_empty(name: str) -> None:
    with pytest.raises(MissingArtifact, match=f"the name of an adapter is empty in '{name}': give a sha256"):
        AdapterNames(ROWS).find_one(name)


def test_a_wrong_name_is_answered_by_similar_ids() -> None:
    rows = [{"sha256": "a" * 64, "hub": "civitai", "id": "lumen9/msc-flux", "file": "1.st"}]
    with pytest.raises(
        MissingArtifact, match=r"'lumen9/mcs-flux' \(did you mean 'lumen9/msc-flux'\?\): give"
    ):
        AdapterNames(rows).find_one("lumen9/mcs-flux")
    with pytest.raises(MissingArtifact, match=r"\(did you mean 'civitai:lumen9/msc-flux'\?\)"):
        AdapterNames(rows).find_one("civitai:lumen9/mcs-flux")
    rows[0]["id"] = "a-long-author/msc"
    with pytest.raises(MissingArtifact, match=r"\(did you mean 'msc'\?\)"):
        AdapterNames(rows).find_one("msk")


def test_a_number_is_not_answered_by_a_similar_one() -> None:
    rows = [{"sha256": "a" * 64, "hub": "civitai", "id": "1234567", "file": "1.st"}]
    for name in ("1234568", "civitai:1234568"):
        with pytest.raises(MissingArtifact, match=rf"contains no adapter '{name}': give"):
            AdapterNames(rows).find_one(name)


@pytest.mark.parametrize(
    ("name", "positions"),
    [("CAT", [1, 2]), ("c.st", [2]), ("b", [1]), ("Dog", [3]), ("ann", []), ("ca", []), ("", [])],
)
def test_the_last_part_of_a_name_finds_its_adapters(name: str, positions: list[int]) -> None:
    assert AdapterNames(ROWS).find_all_by_last_part(name) == positions
