"""The adapters that a prompt names: by name, author or trigger word."""

import pyarrow as pa
import pytest

from autolora.search.retriever import MAX_SHARING, find_named

ROWS = [
    ("huggingface", "Ann/Neon-Cat", "weights/neon_cat.safetensors", ["enxq", "a NEON cat,"]),
    ("huggingface", "ann/chalk", "chalk.safetensors", []),
    ("civitai", "618692", "neon-cat.safetensors", ["enxq", "the"]),
    ("folder", "bob/dog", "dog.safetensors", ["udxt"]),
    *(("folder", f"bob/style {n}", f"{n}.safetensors", ["anime", "TOK"]) for n in range(MAX_SHARING + 1)),
]
COLUMNS = pa.table(dict(zip(("hub", "id", "file", "trigger_words"), zip(*ROWS, strict=True), strict=True)))


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("neon-cat", {0: "name", 2: "name"}),
        (" ann/NEON-cat ", {0: "name"}),
        ("huggingface:ann/neon-cat", {0: "name"}),
        ("neon_cat", {0: "name"}),
        ("neon_cat.safetensors", {0: "name"}),
        ("618692", {2: "name"}),
        ("ANN", {0: "author ann", 1: "author ann"}),
        ("a picture by ann", {}),
        ("chalk", {1: "name"}),
        ("chalk on a wall", {}),
        ("a dog, (UDXT).", {3: "trigger word udxt"}),
        ("udxt and enxq", {3: "trigger word udxt", 0: "trigger word enxq", 2: "trigger word enxq"}),
        ("I want a neon cat!", {0: "trigger word a neon cat"}),
        ("the sea", {}),
        ("udx tudxt", {}),
        ("anime, TOK", {}),
        ("(.*)", {}),
        ("!?", {}),
    ],
)
def test_what_a_prompt_names(prompt: str, named: dict[int, str]) -> None:
    found = find_named(prompt, COLUMNS)
    assert found == named and list(found) == list(named), "the rarest trigger word comes first"


def test_no_adapter_has_no_name() -> None:
    assert find_named("cat", COLUMNS.slice(0, 0)) == {}
