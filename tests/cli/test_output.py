"""What commands print: facts whose words are whole."""

import pytest

from autolora.cli.output import print_facts

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
