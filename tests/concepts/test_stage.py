"""The stage `concepts`: what it writes, what it computes again, and that a killed run continues."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.concepts import stage
from autolora.concepts.shards import stored_keys
from autolora.concepts.store import load_concepts, read_images
from autolora.errors import MissingArtifact
from autolora.storage.incremental import read_digest
from tests.concepts.corpora import encoded, write_files
from tests.concepts.repository import CAPTIONS, Repository, outputs
from tests.support import killing, small_root
from tests.support.tiny_flux import TOKENS


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


def test_an_image_with_one_caption_is_one_row(repository: Repository) -> None:
    write_files(repository.root / "corpus", {"6.png": encoded(0), "6.txt": CAPTIONS["0"]})
    repository.run()
    assert len(read_images(repository.root)) == len(CAPTIONS)


def test_gradients_are_computed_in_the_order_of_the_corpus(repository: Repository) -> None:
    """Shards are read forward."""
    bounds = replace(small_root.params().pool, sketch_size=8)
    plan = stage.make_plan(repository.root, repository.params, repository.base, bounds, TOKENS)
    sources = {image.gradient: image.source for image in plan.images}
    assert [sources[key] for key in plan.gradients.add] == [f"{name}.png" for name in CAPTIONS]


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
