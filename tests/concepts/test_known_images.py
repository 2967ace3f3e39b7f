"""Renderings in a corpus are recognized: those of training adapters have families, others are left out."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.concepts.store import load_concepts, read_images
from autolora.dataset.families import Split
from autolora.dataset.store import TrainingRow, training_lock
from autolora.pool.store import rendering_path
from tests.concepts.corpora import encoded, write_files
from tests.concepts.repository import CAPTIONS, Repository
from tests.support.small_root import DAY


def test_renderings_of_training_adapters_have_families(repository: Repository) -> None:
    computed, result = repository.run(corpus=None, renderings=True, caption="neutral", max_share=1.0)
    lock = {
        image: row.family
        for row in training_lock(repository.root).in_split("train")
        for image in row.renderings
    }
    images = read_images(repository.root)
    assert {image.sha256: image.families for image in images} == {
        image: (family,) for image, family in lock.items()
    }
    assert computed == len(lock) > 0, "both captions of a rendering share a gradient"
    assert result is not None and result.renderings == len(images) == 2 * len(lock)
    families = [concept.families for concept in load_concepts(repository.root).concepts]
    assert families and all(group and group <= set(lock.values()) for group in families)


def test_renderings_that_were_taken_down_are_left_out(repository: Repository) -> None:
    row = training_lock(repository.root).in_split("train")[0]
    for image in row.renderings:
        (path,) = (repository.root / "data/pool").rglob(f"{image}.png")
        path.write_bytes(b"")
    repository.run(corpus=None, renderings=True)
    assert not {image.sha256 for image in read_images(repository.root)} & {*row.renderings}


def pooled_image(root: Path, split: Split) -> tuple[TrainingRow, bytes]:
    """Return an adapter of a split, and its first rendering as the pool has re-encoded it."""
    row = training_lock(root).in_split(split)[0]
    return row, rendering_path(root, row.renderings[0]).read_bytes()


def saved_again(content: bytes) -> bytes:
    """Return an image as a WEBP file with the same pixels."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(content)).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["as the pool has it", "saved again"])
def test_a_rendering_in_the_corpus_has_its_families(repository: Repository, form: str) -> None:
    """Otherwise the encoder's predictions out of fold would learn from it."""
    row, content = pooled_image(repository.root, "train")
    content = saved_again(content) if form == "saved again" else content
    write_files(repository.root / "corpus", {"0.png": content})
    repository.run()
    families = {image.caption: image.families for image in read_images(repository.root)}
    assert families == dict.fromkeys(CAPTIONS.values(), ()) | {CAPTIONS["0"]: (row.family,)}
    cat = next(concept for concept in load_concepts(repository.root).concepts if concept.phrase == "cat")
    assert cat.families == {row.family}


def test_a_rendering_is_recognized_by_the_bytes_of_its_download(repository: Repository) -> None:
    row, _ = pooled_image(repository.root, "train")
    lock = repository.root / "data/training.jsonl"
    lock.write_text(lock.read_text().replace(row.renderings[0], hashlib.sha256(encoded(0)).hexdigest()))
    repository.run()
    families = {image.caption: image.families for image in read_images(repository.root)}
    assert families[CAPTIONS["0"]] == (row.family,)


def test_renderings_of_adapters_that_are_held_out_are_left_out(repository: Repository) -> None:
    """Otherwise the evaluation would ask for images that the encoder has learned from."""
    _, content = pooled_image(repository.root, "test")
    write_files(repository.root / "corpus", {"0.png": content})
    _, result = repository.run()
    assert result is not None and result.skipped.counts == {"held-out": 1}
    assert CAPTIONS["0"] not in {image.caption for image in read_images(repository.root)}


def test_an_image_that_was_taken_down_is_left_out(repository: Repository) -> None:
    """Also if only its pixels tell, which an earlier run has kept."""
    row, content = pooled_image(repository.root, "train")
    write_files(repository.root / "corpus", {"0.png": content})
    repository.run()
    rendering_path(repository.root, row.renderings[0]).write_bytes(b"")
    takedown = Takedown(
        kind="rendering", sha256=row.renderings[0], hub="", id="", file="", reason="asked", date=DAY
    )
    takedowns.write(repository.root, Takedowns((takedown,)))
    _, result = repository.run()
    assert result is not None and result.skipped.counts == {"taken-down": 1}
