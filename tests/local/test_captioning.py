"""Images of one's own files: validated where they are, and captioned by the playground's VLM if an engine is set."""

import shutil
from pathlib import Path

import pytest

from autolora.captions.store import read_captions
from autolora.errors import ParamsError
from autolora.local.indexing import write_captions
from autolora.params import load
from autolora.pool import store as pool
from autolora.search.retriever import open_retriever
from autolora.show.lookup import lookup
from autolora.storage.hashes import hash_file
from autolora.vlm import captioner
from tests.local.own_folder import REPOSITORY, images_of, index, set_params

pytestmark = pytest.mark.slow

ENGINE = {
    "models.vlm": str(REPOSITORY / "playground/models/vlm"), "models.vlm_revision": None, "models.dtype": "float32",
    "captions.engine": "transformers", "captions.batch": 2,
}  # fmt: skip


@pytest.fixture
def image(folder: Path) -> Path:
    """Return the preview image of the first LoRA; a second image is damaged."""
    (folder / "file0.jpg").write_bytes(b"\xff\xd8 no image")
    return Path(shutil.copyfile(images_of("cat")[0], folder / "file0.preview.png"))


def test_images_are_linked_and_damaged_ones_refused(root: Path, image: Path) -> None:
    report = index(root)
    assert (report.images, report.refused_images, report.captions) == (1, 1, 0)
    assert not report.has_captioner
    path = pool.rendering_path(root, hash_file(image))
    assert path.is_symlink() and path.resolve() == image
    again = index(root)
    assert (again.images, again.refused_images, again.index) == (1, 0, report.index)


def test_without_an_engine_the_weights_speak_alone(root: Path, image: Path) -> None:
    index(root)
    (hit,) = (retriever := open_retriever(root)).search("a cat", k=1)
    (reason,) = retriever.reasons("a cat", [hit])
    assert (hit.id, reason.captions_score, reason.uses_captions) == ("file0", None, None)


def test_captions_are_written_once_and_searched(root: Path, image: Path) -> None:
    alone = index(root).index
    set_params(root, ENGINE)
    report = index(root)
    assert (report.captions, report.failed_captions) == (3, {})
    assert report.index != alone and report.changes["embedded"] == 1
    captions = lookup(root, "file0", load(root / "params.yaml").crawl).captions
    assert sorted(caption.length for caption in captions) == ["long", "medium", "short"]
    (reason,) = (retriever := open_retriever(root)).reasons("a cat", retriever.named("a cat", ["file0"]))
    assert reason.captions_score is not None and len(reason.captions) == 1
    assert retriever.index.has_captions.sum() == 1
    assert (index(root).captions, index(root).index) == (0, report.index)


def test_an_image_that_the_model_cannot_caption_is_named(
    root: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_params(root, ENGINE)
    monkeypatch.setattr("autolora.vlm.in_process.load_rendering", lambda path, side: damaged(path))
    report = index(root)
    assert list(report.failed_captions) == [hash_file(image)] and report.captions == 0
    assert open_retriever(root).search("a cat", k=1)[0].id == "file0"
    assert read_captions(root) == []


def damaged(path: Path) -> None:
    from autolora.errors import ImageFailed

    raise ImageFailed(f"{path} is damaged")


def test_an_engine_without_a_model_is_an_error_before_anything_is_captioned(root: Path, image: Path) -> None:
    set_params(root, {**ENGINE, "models.vlm": "/nowhere"})
    with pytest.raises(Exception, match=r"models\.vlm is /nowhere"):
        index(root)


def test_null_names_no_engine(root: Path) -> None:
    params = load(root / "params.yaml")
    assert write_captions(root, params, None) == (0, {})  # type: ignore[arg-type]  # not used
    with pytest.raises(ParamsError, match=r"captions\.engine is null"):
        captioner(params.models, params.captions, params.vllm)
