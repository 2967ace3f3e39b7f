"""The folded details of the page: captions that disagree with the weights, and the reliability of verdicts."""

import json
import re
import shutil
from pathlib import Path

import pytest
from markupsafe import escape

from autolora.report.page import assemble
from tests.report.parsed_page import read_page
from tests.support.report_root import write_pool

ODD_FILES = Path(__file__).parents[2] / "metrics" / "odd_files.json"


def test_page_shows_adapters_whose_captions_disagree_with_the_weights(full: Path) -> None:
    text = read_page(full)
    section = re.search(r'<details class="panel fold" id="captions">.*?</details>', text, flags=re.DOTALL)
    assert section is not None
    names = re.findall(r"<bdi>(author\d+)/", section.group())
    assert names == ["author5", "author3"]
    assert "The captions of 2 of 12 adapters" in section.group()
    assert "cosine -0.12, at least 0.50 expected" in section.group()
    assert section.group().count("<img") == 4 and section.group().count('class="veil"') == 2


def test_page_shows_the_lowest_agreements_only(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    monkeypatch.setattr("autolora.report.page.MAX_DISAGREEING", 1)
    text = assemble(root).read_text()
    section = text[text.index('id="captions"') :].split("</details>")[0]
    assert re.findall(r"<bdi>(author\d+)/", section) == ["author5"]
    assert "Only the 1 with the lowest cosine are shown here" in section


def test_page_without_disagreeing_captions_has_no_section_on_them(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    text = assemble(tmp_path).read_text()
    assert 'id="captions"' not in text


def test_page_shows_the_reliability_of_verdicts_once_it_is_measured(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    assert "How reliable these verdicts are" not in assemble(tmp_path).read_text()
    (tmp_path / "metrics").mkdir()
    shutil.copy(ODD_FILES, tmp_path / "metrics" / "odd_files.json")
    text, odd_files = assemble(tmp_path).read_text(), json.loads(ODD_FILES.read_text())
    assert f"of {odd_files['totals']['files']} unusual and hostile files" in text
    assert all(f'<th scope="row">{escape(kind)}</th>' in text for kind in odd_files["kinds"])
