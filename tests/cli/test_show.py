"""`autolora show`: captions on request."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.commands import run


def test_show_compares_captions_on_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(root, monkeypatch, "show", "author0/mosaic")
    assert "captions and weights" in plain and "cosine of each caption" not in plain
    text = run(root, monkeypatch, "show", "author0/mosaic", "--captions")
    assert text.startswith(plain)
    first, *_, last = re.findall(r"a (\w+) drawing", text.removeprefix(plain))
    assert (first, last) == ("chalk", "mosaic")
    content = json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--captions", "--json"))
    rows = content["caption_agreement"]
    assert len(rows) == 4 and rows[0].keys() == {"image", "text", "weights", "others"}
    assert "caption_agreement" not in json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--json"))
