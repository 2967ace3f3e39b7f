"""Images are decoded once; those that cannot be decoded are counted, and named."""

import json

import pytest

from autolora.concepts.decoded import decoded_path
from autolora.concepts.store import read_images
from autolora.errors import MissingArtifact
from tests.concepts.corpora import encoded, write_files
from tests.concepts.repository import CAPTIONS, Repository, outputs


def test_images_that_cannot_be_decoded_are_counted(repository: Repository) -> None:
    damaged = encoded(9)[:-60] + b"x" * 60
    write_files(
        repository.root / "corpus",
        {"8.png": damaged, "8.txt": "damaged", "9.png": encoded(9, size=(500, 2)), "9.txt": "thin"},
    )
    _, result = repository.run()
    assert result is not None
    assert result.skipped.counts == {"not-an-image": 1, "image-too-thin": 1}
    assert "2 skipped (1 " in result.summary
    assert len(read_images(repository.root)) == len(CAPTIONS)


def test_a_refused_image_is_named_and_loads_no_model_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(repository.root / "corpus", {"8.png": encoded(9)[:-60] + b"x" * 60, "8.txt": "damaged"})
    _, result = repository.run()
    assert result is not None
    reason = "not-an-image: the file is not a valid image of type PNG, JPEG, WEBP (SyntaxError)"
    metrics = json.loads((repository.root / "metrics/concepts.json").read_text())
    assert metrics["refused"] == {"8.png": reason}
    before = outputs(repository.root)
    monkeypatch.setattr("autolora.models.load_pipeline", None)
    monkeypatch.setattr("autolora.concepts.decoded.decode_image", None)
    computed, again = repository.run()
    assert again is not None
    assert (computed, again.skipped.counts) == (0, {"not-an-image": 1})
    assert again.skipped.named == result.skipped.named
    assert outputs(repository.root) == before


def test_a_refused_image_is_decoded_again_with_other_bounds(repository: Repository) -> None:
    write_files(repository.root / "corpus", {"8.png": encoded(9, size=(1000, 500)), "8.txt": "large"})
    _, result = repository.run(max_px=400_000)
    assert result is not None and result.skipped.counts == {"image-too-large": 1}
    computed, result = repository.run()
    assert result is not None and (computed, result.skipped.counts) == (1, {})


def test_without_a_corpus_no_image_is_kept_as_decoded(repository: Repository) -> None:
    repository.run()
    assert decoded_path(repository.root).exists()
    repository.run(corpus=None)
    assert not decoded_path(repository.root).exists()


def test_a_corpus_of_damaged_images_is_an_error(repository: Repository) -> None:
    write_files(repository.root / "corpus", {f"{name}.png": "not an image" for name in CAPTIONS})
    with pytest.raises(
        MissingArtifact, match=r"none of 5 captioned images .* can be used \(5 not-an-image\)"
    ):
        repository.run()
    assert not (repository.root / "digests/concepts.json").exists()
