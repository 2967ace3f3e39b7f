"""The training lock: which images and captions it names, what rewrites it, and what a training reads because of it."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.captions.store import CaptionRecipe, prompt_digest
from autolora.dataset import store as dataset
from autolora.encoder.examples import load_examples
from autolora.fusion.examples import texts_by_image
from autolora.pool import store as pool
from autolora.records import Adapter
from autolora.storage.incremental import write_digest
from tests.support.synthetic_repo import (
    DAY,
    SyntheticAdapter,
    make_adapter,
    make_adapters,
    write_dataset,
    write_repository,
)

RECIPE = CaptionRecipe(
    instructions={"short": "Name it.", "long": "Describe it."},
    max_tokens=48,
    max_image_side=1024,
    vlm="v" * 64,
    dtype="float32",
)
NEXT_DAY = DAY + datetime.timedelta(days=1)


def adapters_of(recipe: CaptionRecipe, without_captions: Sequence[int] = ()) -> list[SyntheticAdapter]:
    """Return four adapters with captions by a recipe; none of the second image of these adapters."""
    adapters = []
    for number, adapter in enumerate(make_adapters((0, 1), ("mosaic", "neon"))):
        captions = [
            replace(caption, prompt=prompt_digest(recipe.instructions[caption.length], 48), vlm=recipe.vlm)
            for caption in adapter.captions
            if number not in without_captions or caption.image == adapter.captions[0].image
        ]
        adapters.append(replace(adapter, captions=tuple(captions)))
    return adapters


def write(root: Path, adapters: Sequence[SyntheticAdapter], recipe: CaptionRecipe = RECIPE) -> bytes:
    """Write the repository and run the stage `dataset`; return the training lock."""
    write_repository(root, adapters)
    write_digest(root, "captions", {}, 1, recipe=recipe.to_row())
    write_dataset(root)
    return (root / dataset.TRAINING_LOCK).read_bytes()


def test_names_the_recipe_and_the_images_that_have_captions(tmp_path: Path) -> None:
    adapters = adapters_of(RECIPE, without_captions=[1])
    write(tmp_path, adapters)
    lock = dataset.training_lock(tmp_path)
    assert (lock.train_until, lock.recipe) == (DAY, RECIPE)
    images = {row.sha256: row.renderings for row in lock.rows}
    for adapter in adapters:
        assert set(images[adapter.sha256]) == {caption.image for caption in adapter.captions}
    assert len(images[adapters[1].sha256]) == 1


@pytest.mark.parametrize(
    "changed",
    [{"instructions": {"short": "What is it?", "long": "Describe it."}}, {"vlm": "w" * 64}, {"dtype": "bfloat16"}],
)  # fmt: skip
def test_a_changed_recipe_rewrites_it_as_from_an_empty_folder(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    former, recipe = tmp_path / "incremental", replace(RECIPE, **changed)  # type: ignore[arg-type]
    before = write(former, adapters_of(RECIPE, without_captions=[1]))
    after = write(former, adapters_of(recipe), recipe)
    assert after != before
    assert after == write(tmp_path / "empty", adapters_of(recipe), recipe)


def test_new_adapters_and_late_and_rewritten_captions_leave_it_and_its_images_alone(tmp_path: Path) -> None:
    before = write(tmp_path, adapters_of(RECIPE, without_captions=[1]))
    read = locked_images(tmp_path)
    complete = adapters_of(RECIPE)
    rewritten = replace(complete[0].captions[0], text="a late answer")
    complete[0] = replace(complete[0], captions=(rewritten, *complete[0].captions[1:]))
    assert write(tmp_path, [*complete, make_adapter("chalk", 7, NEXT_DAY)]) == before
    assert locked_images(tmp_path) == read
    assert len(read) == 2 * len(complete) - 1


def test_captions_of_another_recipe_do_not_count(tmp_path: Path) -> None:
    """As after a changed instruction, before the stage `dataset` has run: both kinds of captions are there."""
    adapters = adapters_of(RECIPE)
    write(tmp_path, adapters)
    trained, gates = load_examples(tmp_path), texts_by_image(tmp_path)
    foreign = [
        replace(adapter, captions=(*adapter.captions, *(replace(c, prompt="0" * 64) for c in adapter.captions)))
        for adapter in adapters
    ]  # fmt: skip
    write_repository(tmp_path, foreign)
    assert load_examples(tmp_path) == trained
    assert texts_by_image(tmp_path) == gates


def locked_images(root: Path) -> set[str]:
    """Return the images whose captions trainings read."""
    return set(dataset.locked_captions(root))


def test_leaves_out_lokrs_that_are_not_low_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = adapters_of(RECIPE)
    full, original = adapters[2].sha256, pool.adapters

    def with_a_full_one(root: Path) -> dict[str, Adapter]:
        rows = original(root)
        return {
            key: replace(row, warnings=("full-rank",)) if row.sha256 == full else row
            for key, row in rows.items()
        }

    monkeypatch.setattr(pool, "adapters", with_a_full_one)
    write(tmp_path, adapters)
    locked = {row.sha256 for row in dataset.training_lock(tmp_path).rows}
    assert locked == {adapter.sha256 for adapter in adapters} - {full}
    assert full in {row["sha256"] for row in dataset.rows(tmp_path, "adapters")}
