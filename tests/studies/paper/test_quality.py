"""studies.paper.quality: metrics in a process of their own, here with a tiny package in place of the real ones."""

import sys
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from studies.paper.quality import METRICS, QualityScorer

LIBRARY = """
print("loading the library")

class Metric:
    def score(self, images, text):
        print("scoring")
        return [image.width + len(text) for image in images]

def download_preference_model(name, cache_dir):
    return {"name": name}

def load_preference_model(name, device, path):
    assert path == {"name": name} and device == "cpu"
    return Metric()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes find a package like DiffSynth-Studio."""
    library = tmp_path / "diffsynth" / "extensions" / "ImageQualityMetric.py"
    library.parent.mkdir(parents=True)
    library.write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_images_are_scored_in_another_process(package: None, tmp_path: Path) -> None:
    from PIL import Image

    paths = [tmp_path / f"{width}.png" for width in (3, 5)]
    for path, width in zip(paths, (3, 5), strict=True):
        Image.new("RGB", (width, 4)).save(path)
    with QualityScorer("MPS", Path(sys.executable), "cpu") as scorer:
        assert scorer.score(paths, "ab") == [5.0, 7.0]
        assert scorer.score(paths[:1], "") == [3.0]
        with pytest.raises(MissingArtifact, match=r"MPS cannot be computed .*FileNotFoundError"):
            scorer.score([tmp_path / "missing.png"], "")


@pytest.mark.parametrize("name", METRICS)
def test_a_missing_package_is_named(name: str, tmp_path: Path) -> None:
    with (
        QualityScorer(name, Path(sys.executable), "cpu") as scorer,
        pytest.raises(
            MissingArtifact, match=rf'No module named .* install "{METRICS[name]}".*--quality-python'
        ),
    ):
        scorer.score([tmp_path / "image.png"], "a cat")


def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"missing/bin/python cannot be started .*--quality-python"):
        QualityScorer("HPSv2.1", tmp_path / "missing/bin/python", "cpu")
