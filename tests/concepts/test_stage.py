"""The stage `concepts`: what it writes, what it computes again, and that a killed run continues."""

import hashlib
import io
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.concepts import stage
from autolora.concepts.decoded import decoded_path
from autolora.concepts.shards import stored_keys
from autolora.concepts.store import load_concepts, read_images
from autolora.dataset.families import Split
from autolora.dataset.store import TrainingRow, training_lock
from autolora.errors import MissingArtifact
from autolora.params import ConceptsParams, ModelsParams
from autolora.pool.store import rendering_path
from autolora.storage.incremental import read_digest
from tests.concepts.corpora import encoded, write_files
from tests.support import killing, small_root
from tests.support.small_root import DAY
from tests.support.synthetic_repo import file_states
from tests.support.tiny_flux import TOKENS

CAPTIONS = {
    "0": "a cat in snow",
    "1": "a cat at night",
    "2": "a dog in snow",
    "3": "a dog at night",
    "4": "a ship",
}
OUTPUTS = ("data/concepts", "metrics/concepts.json", "digests/concepts.json")


@dataclass
class Repository:
    """A repository with a corpus of five images, and the params of its stage `concepts`."""

    root: Path
    base: ModelsParams
    params: ConceptsParams

    def run(
        self, batches: int | None = None, max_px: int | None = None, **changes: Any
    ) -> tuple[int, stage.Result | None]:
        """Run the stage; return how many gradients were computed. batches: end without `finish` after as many.

        max_px: value of `pool.max_image_px`, if another one.
        """
        params = replace(self.params, **changes)
        limits = replace(small_root.params().pool, sketch_size=8)
        limits = replace(limits, max_image_px=max_px or limits.max_image_px)
        plan = stage.make_plan(self.root, params, self.base, limits, TOKENS)
        steps = stage.compute_gradients(self.root, plan, params, self.base, limits, TOKENS)
        if batches is not None:
            return sum(islice(steps, batches)), None
        return sum(steps), stage.finish(self.root, plan, params)

    @property
    def digest(self) -> str:
        return str(read_digest(self.root, "concepts")["sha256"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelsParams]:
    root = tmp_path_factory.mktemp("built")
    base = small_root.base(root)
    small_root.build(root, base)
    return root, base


@pytest.fixture
def repository(built: tuple[Path, ModelsParams], tmp_path: Path) -> Repository:
    root, base = built
    shutil.copytree(root / "data", tmp_path / "data")
    files: dict[str, bytes | str] = {f"{name}.png": encoded(int(name)) for name in CAPTIONS}
    write_files(tmp_path / "corpus", files | {f"{name}.txt": text for name, text in CAPTIONS.items()})
    params = replace(
        small_root.params().concepts, corpus="corpus", image_size=32, min_images=2, max_share=0.5,
        noise_levels=(0.5,), batch=2,
    )  # fmt: skip
    return Repository(tmp_path, base, params)


def outputs(root: Path) -> Mapping[str, Any]:
    return {name: state for name, state in file_states(root).items() if name.startswith(OUTPUTS)}


def test_images_phrases_digest_and_metrics_are_written(repository: Repository) -> None:
    computed, result = repository.run()
    assert computed == 5 and result is not None
    loaded = load_concepts(repository.root)
    assert [concept.phrase for concept in loaded.concepts] == ["at", "in", "cat", "dog"]
    assert loaded.rows.shape == (4, len(small_root.SLOTS), 8, 8)
    assert sorted(loaded.captions) == sorted(CAPTIONS.values())
    assert loaded.concepts[2].families == frozenset()
    assert read_digest(repository.root, "concepts").items() >= {"images": 5, "concepts": 4}.items()
    metrics = json.loads((repository.root / "metrics/concepts.json").read_text())
    assert metrics == json.loads(json.dumps(result.to_json()))
    assert (metrics["corpus"], metrics["renderings"], metrics["concepts"], metrics["skipped"]) == (
        5,
        0,
        4,
        {},
    )
    assert result.coverage is not None and "cat" not in metrics["coverage"]["missing"]
    assert "mosaic" in metrics["coverage"]["missing"]
    assert result.summary.startswith("5 captioned images, 4 concepts; ")


def test_as_shipped_an_empty_table_is_written_and_no_model_is_loaded(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = small_root.params().concepts
    assert (shipped.corpus, shipped.renderings) == (None, False)
    monkeypatch.setattr("autolora.models.load_pipeline", None)
    computed, result = repository.run(corpus=None)
    assert computed == 0 and result is not None
    assert result.summary == "0 captioned images, 0 concepts"
    loaded = load_concepts(repository.root)
    assert (loaded.concepts, loaded.captions) == ((), ())
    assert read_digest(repository.root, "concepts")["rows"] == 0


def test_a_second_run_computes_and_writes_nothing(repository: Repository) -> None:
    repository.run()
    before = outputs(repository.root)
    assert repository.run()[0] == 0
    assert outputs(repository.root) == before


def test_only_new_images_are_computed_and_removed_ones_leave(repository: Repository) -> None:
    repository.run()
    corpus = repository.root / "corpus"
    write_files(corpus, {"5.png": encoded(5), "5.txt": "a new ship"})
    (corpus / "0.png").unlink()
    computed, _ = repository.run()
    assert computed == 1
    captions = {image.caption for image in read_images(repository.root)}
    assert captions == {*CAPTIONS.values(), "a new ship"} - {CAPTIONS["0"]}
    assert len(stored_keys(repository.root)) == 5


def test_a_new_caption_costs_a_gradient_only_if_it_is_the_prompt(repository: Repository) -> None:
    repository.run(caption="neutral")
    write_files(repository.root / "corpus", {"0.txt": "a black cat"})
    before = repository.digest
    assert repository.run(caption="neutral")[0] == 0
    assert repository.digest != before
    assert repository.run(caption="named")[0] == 5


@pytest.mark.parametrize(
    ("changes", "computed"),
    [
        ({"seed": 1}, 5),
        ({"draws": 2}, 5),
        ({"noise_levels": (0.6,)}, 5),
        ({"image_size": 48}, 5),
        ({"batch": 3}, 0),
        ({"min_images": 3}, 0),
        ({"max_images": 3}, 0),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_params_that_determine_gradients_compute_them_again(
    repository: Repository, changes: dict[str, Any], computed: int
) -> None:
    repository.run()
    assert repository.run(**changes)[0] == computed


def test_another_base_model_computes_them_again(repository: Repository) -> None:
    repository.run()
    repository.base = replace(repository.base, pipeline=f"{repository.base.pipeline}/.")
    assert repository.run()[0] == 5


def test_a_run_that_ended_early_continues(repository: Repository) -> None:
    repository.run()
    digest, rows = repository.digest, load_concepts(repository.root).rows
    shutil.rmtree(repository.root / "data/concepts")
    assert repository.run(batches=1)[0] == 2
    assert repository.run()[0] == 3
    assert repository.digest == digest
    torch.testing.assert_close(load_concepts(repository.root).rows, rows)
    assert not (repository.root / "data/concepts/open").exists()


def run_until_two_are_stored(repository: Repository) -> None:
    """Run the stage, which does not end, because it stores no third gradient."""
    save = stage.save_gradient

    def save_or_wait(root: Path, key: str, gradient: torch.Tensor) -> None:
        if len(stored_keys(root)) == 2:
            time.sleep(killing.TIMEOUT_S)
        save(root, key, gradient)

    stage.save_gradient = save_or_wait  # type: ignore[attr-defined]  # in this process only
    repository.run()


def test_a_killed_run_continues(repository: Repository) -> None:
    assert killing.kill(
        run_until_two_are_stored, repository, until=lambda: len(stored_keys(repository.root)) == 2
    )
    computed, result = repository.run()
    assert computed == len(CAPTIONS) - 2
    assert result is not None and result.corpus == len(CAPTIONS)


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


def test_an_image_with_one_caption_is_one_row(repository: Repository) -> None:
    write_files(repository.root / "corpus", {"6.png": encoded(0), "6.txt": CAPTIONS["0"]})
    repository.run()
    assert len(read_images(repository.root)) == len(CAPTIONS)


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


def test_gradients_are_computed_in_the_order_of_the_corpus(repository: Repository) -> None:
    """Shards are read forward."""
    bounds = replace(small_root.params().pool, sketch_size=8)
    plan = stage.make_plan(repository.root, repository.params, repository.base, bounds, TOKENS)
    sources = {image.gradient: image.source for image in plan.images}
    assert [sources[key] for key in plan.gradients.add] == [f"{name}.png" for name in CAPTIONS]


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


def test_a_corpus_without_texts_in_its_captions_is_an_error(repository: Repository) -> None:
    write_files(repository.root / "corpus", {f"{name}.txt": " " for name in CAPTIONS})
    with pytest.raises(MissingArtifact, match=r"none of 5 captioned images .* can be used \(5 no-caption\)"):
        repository.run()


def test_damaged_shards_captions_and_other_files_are_recorded(repository: Repository) -> None:
    write_files(
        repository.root / "corpus",
        {"4.txt": "", "junk.tar": b"junk" * 300, "nocap.png": encoded(9), "a.gif": b"GIF89a"},
    )
    repository.run()
    metrics = json.loads((repository.root / "metrics/concepts.json").read_text())
    assert metrics["skipped"] == {"damaged-file": 1, "no-caption": 2, "other-file": 1}
    assert metrics["refused"].keys() == {"4.png", "junk.tar, member at byte 0", "nocap.png", "a.gif"}
    assert metrics["refused"]["4.png"] == "no-caption: the caption is empty or not a text"


def test_too_few_images_for_a_concept_are_a_warning_that_is_recorded(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    _, result = repository.run(min_images=12, max_share=0.3)
    assert result is not None and (result.corpus, result.concepts) == (5, 0)
    assert result.warning.startswith("5 captioned images give no concept: ")
    assert "at least 40 are needed: add images" in result.warning and result.warning in caplog.text
    assert json.loads((repository.root / "metrics/concepts.json").read_text())["warning"] == result.warning
    caplog.clear()
    for changes in ({}, {"corpus": None}):
        _, result = repository.run(**changes)
        assert result is not None and result.warning == "" and not caplog.text
