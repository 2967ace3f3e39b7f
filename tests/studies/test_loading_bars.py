"""Models are loaded without bars of progress."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from autolora.metrics.clip import load_clip
from autolora.models import LOGGING_MODULES
from studies.paper.__main__ import hide_loading_bars
from tests.support import tiny_judges


@pytest.fixture
def bars() -> Iterator[None]:
    """Turn the bars on, also after the test."""
    modules = [import_module(name) for name in LOGGING_MODULES]
    for module in modules:
        module.enable_progress_bar()
    yield
    for module in modules:
        module.enable_progress_bar()


def test_a_judge_is_loaded_without_a_bar(
    bars: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(tiny_judges.params(tmp_path).clip)
    capfd.readouterr()
    load_clip(folder, "cpu")
    assert "Loading weights" in capfd.readouterr().err
    hide_loading_bars()
    load_clip(folder, "cpu")
    assert capfd.readouterr() == ("", "")
