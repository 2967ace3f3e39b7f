"""`autolora show`: captions on request."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.show import lookup
from autolora.storage import hashes
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
    assert len(rows) == 4 and rows[0].keys() == {"image", "text", "cut", "weights", "others"}
    assert "caption_agreement" not in json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--json"))


def test_show_marks_cut_captions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *whole, cut = lookup.read_captions(root)
    monkeypatch.setattr(lookup, "read_captions", lambda _: [*whole, replace(cut, cut=True)])
    name = next(row.id for row in lookup.read_all(root) if cut.image in {i.sha256 for i in row.renderings})
    text = run(root, monkeypatch, "show", name, "--captions")
    assert text.count("… (cut)") == 1 and f"{cut.text} … (cut)" in " ".join(text.split())
    rows = json.loads(run(root, monkeypatch, "show", name, "--captions", "--json"))["caption_agreement"]
    assert [row["text"] for row in rows if row["cut"]] == [cut.text]


def test_show_finds_an_adapter_by_the_last_part_of_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    several = CliRunner().invoke(app, ["show", "MOSAIC"])
    assert several.exit_code == 1 and "'MOSAIC' matches several adapters" in several.output
    listings = [row for row in lookup.read_all(root) if row.id != "author1/mosaic"]
    others = ("author2/mosaic", "author3/mosaic")
    monkeypatch.setattr(lookup, "read_all", lambda _: [row for row in listings if row.id not in others])
    record = json.loads(run(root, monkeypatch, "show", "MOSAIC", "--json"))
    assert record["id"] == "author0/mosaic"


def test_show_of_a_file_that_the_project_lacks_names_inspect(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b.safetensors").write_bytes(b"x")
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["show", str(tmp_path / "a b.safetensors")])
    assert result.exit_code == 1 and f"`autolora inspect '{tmp_path}/a b.safetensors'`" in result.output


def test_show_of_a_file_of_another_kind_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image.jpg").write_bytes(b"x")
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["show", str(tmp_path / "image.jpg")])
    assert result.exit_code == 1 and "image.jpg is neither a PNG that" in result.output


def test_show_finds_the_adapter_of_a_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads(run(root, monkeypatch, "show", "author0/mosaic", "--json"))
    file = tmp_path / "copy.safetensors"
    file.write_bytes(b"the hash counts")
    monkeypatch.setattr(hashes, "hash_file", lambda path: record["sha256"] if path == file else "")
    assert json.loads(run(root, monkeypatch, "show", str(file), "--json")) == record


def test_images_have_no_checks_of_adapters() -> None:
    result = CliRunner().invoke(app, ["show", "image.png", "--captions"])
    assert result.exit_code == 2 and "--captions" in result.output
