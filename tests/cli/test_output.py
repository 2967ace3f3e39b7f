"""What commands print: words are whole."""

import pytest
from rich.cells import cell_len

from autolora.cli.output import print_facts, print_lines, print_table

HASH = "a45a533bf6125ba3c3ba2fd938df0079b3118f2bb445e64a5429194e1743d354"


def test_facts_are_wrapped_between_words_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "author/a-name-that-is-longer-than-the-line.safetensors"
    print_facts({"sha256": HASH, "prompt": "one two three four five six seven", "files": f"{name}\n[b]/x"})
    assert capsys.readouterr().out.splitlines() == [
        f" sha256  {HASH}",
        " prompt  one two three four five six",
        "         seven",
        f" files   {name}",
        "         [b]/x",
    ]


def test_an_empty_value_keeps_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"prompt": "", "seed": 0})
    assert capsys.readouterr().out == " prompt  \n seed    0\n"
    print_facts({})
    assert capsys.readouterr().out == ""


NAME = "strangerzone-community/Flux-Super-Realism-Portraits-LoRA"
ROWS = [
    ("", "", "for: a portrait of an old fisherman at sea", "", "", ""),
    ("0.612", "0.98", f"{NAME}\nportraits that look like photographs", "bespoke-lora-trained-license",
     "Super Realism, hyper-detailed-skin-texture", HASH[:8]),
    ("0.201", "0.45?", "a/b\n一个没有空格的中文句子\n描述了这个模型的用途", "mit", "–", HASH[8:16]),
]  # fmt: skip
COLUMNS = ("score", "relevance", "adapter", "license", "trigger words", "sha256")


@pytest.mark.parametrize("columns", [60, 80, 150])
def test_no_word_of_a_table_breaks(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(COLUMNS, ROWS, "index 0123456789ab: 2 of 80 adapters pass the filter")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= columns
    texts = " ".join(lines).split()
    for row in ROWS:
        assert {*" ".join(row).split()} <= {*texts}
    assert any(line.split()[:2] == ["score", "relevance"] for line in lines) == (columns == 150)


def test_a_hash_that_fits_on_a_line_of_its_own_gets_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_facts({"update norm (Frobenius, estimated)": 1.5, "sha256": HASH, "license": "mit"})
    *_, label, value, last = capsys.readouterr().out.splitlines()
    assert (label, value) == (" sha256", f"  {HASH}") and last.split() == ["license", "mit"]


def test_lines_are_wrapped_between_words_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("no adapter fits:", f"  huggingface:{NAME}, relevance 0.42 for: portrait")
    monkeypatch.setenv("COLUMNS", "72")
    print_lines(*lines)
    assert capsys.readouterr().out.splitlines() == [
        lines[0], f"  huggingface:{NAME},", "    relevance 0.42 for: portrait",
    ]  # fmt: skip
    monkeypatch.delenv("COLUMNS")
    print_lines(*lines)
    assert capsys.readouterr().out.splitlines() == [*lines]
