"""The measurement of the page, with few adapters."""

from pathlib import Path

import pytest

from bench.serve import serving, write_project

pytestmark = pytest.mark.slow


def test_the_page_of_synthetic_adapters_answers(tmp_path: Path) -> None:
    write_project(tmp_path, 50)
    with serving(tmp_path) as (process, port, seconds):
        assert process.poll() is None and port and seconds > 0
