"""Stage `drawings`: which adapters draw, what names an image, and what stages after it make of it."""

import datetime
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.captions import stage as captions
from autolora.catalog import store as catalog
from autolora.dataset import store as dataset
from autolora.drawings import stage
from autolora.drawings.recipe import MAX_SIDE, MAX_STEPS, PROMPTS, Base
from autolora.generation.images import Generator
from autolora.params import DrawingsParams, ModelsParams
from autolora.pool import batches
from autolora.pool.drawings import Drawing, drawings_path, read_drawings
from autolora.pool.takedown import find_scope
from autolora.records import Caption, ListedRendering, Listing
from autolora.storage.files import append_rows, read_rows, write_rows
from autolora.storage.incremental import read_digest
from tests.support import small_root
from tests.support.killed_writes import Killed, kill_at

PARAMS = DrawingsParams(per_day=None, share=1.0, restricted=False)
TODAY = datetime.date(2026, 1, 5)
BARE = ("author0/cat", "author2/neon")
"""the adapters without renderings"""


@pytest.fixture
def models(tmp_path: Path) -> ModelsParams:
    return small_root.base(tmp_path)


@pytest.fixture
def root(tmp_path: Path, models: ModelsParams) -> Path:
    """Return a repository of which two adapters have no renderings."""
    small_root.build(tmp_path, models)
    change(tmp_path, lambda row: replace(row, renderings=()) if row.id in BARE else row)
    return tmp_path


def change(root: Path, new: Callable[[Listing], Listing]) -> None:
    """Write other listings into the catalog."""
    catalog.write(root, [new(row) for row in catalog.read_all_or_empty(root)])


def base(models: ModelsParams, steps: int = 1) -> Base:
    drawing = Base.of(replace(small_root.params(), models=models, pool=small_root.bounds()))
    return replace(drawing, generation=replace(drawing.generation, width=32, height=32, steps=steps))


def run(
    root: Path,
    models: ModelsParams,
    params: DrawingsParams = PARAMS,
    day: datetime.date = TODAY,
    steps: int = 1,
) -> int:
    """Run the stage; return the number of adapters that were planned."""
    batches.recover(root)
    planned = stage.plan(root, params, base(models, steps), day)
    generator = Generator(root, models, small_root.bounds())
    for rows in planned:
        stage.store(root, stage.draw(root, base(models, steps), rows, generator))
    stage.finish(root, day)
    return len(planned)


def drawn(root: Path) -> set[str]:
    """Return the ids of the adapters that have drawn."""
    ids = {row.sha256: row.id for row in catalog.read_all_or_empty(root)}
    return {ids[sha256] for sha256 in read_drawings(root)}


def test_adapters_without_renderings_draw_once(root: Path, models: ModelsParams) -> None:
    assert run(root, models) == 2 and drawn(root) == set(BARE)
    first = read_digest(root, "drawings")["sha256"]
    rows = [row for group in read_drawings(root).values() for row in group]
    assert len(rows) == 2 * len(PROMPTS) == len({row.image for row in rows})
    assert {row.prompt for row in rows if row.number == 0} == {"zq0/", "zq2/"}
    assert all(batches.members(root)["renderings"][row.image] == "2026-01-05" for row in rows)
    assert run(root, models, day=TODAY.replace(day=6)) == 0
    assert read_digest(root, "drawings")["sha256"] == first


def test_an_adapter_whose_images_cannot_be_downloaded_waits_for_them(
    root: Path, models: ModelsParams
) -> None:
    image = ListedRendering(url="http://127.0.0.1/late", sha256="0" * 64, prompt=None)
    change(root, lambda row: replace(row, deferred_renderings=((0, image),)) if row.id == BARE[0] else row)
    run(root, models)
    assert drawn(root) == {BARE[1]}


def test_drawings_leave_as_soon_as_a_hub_shows_the_adapter(root: Path, models: ModelsParams) -> None:
    run(root, models)
    image = ListedRendering(url="http://127.0.0.1/late", sha256="0" * 64, prompt=None)
    change(root, lambda row: replace(row, renderings=(image,)) if row.id == BARE[0] else row)
    run(root, models)
    assert drawn(root) == {BARE[1]}


def test_the_newest_adapters_draw_first_and_only_so_many_a_day(root: Path, models: ModelsParams) -> None:
    one = replace(PARAMS, per_day=1)
    assert run(root, models, one) == 1 and drawn(root) == {"author2/neon"}, "that of the last day"
    assert run(root, models, one) == 0
    assert run(root, models, one, TODAY.replace(day=6)) == 1 and drawn(root) == set(BARE)


@pytest.mark.parametrize(
    "flags", [{"nsfw": True}, {"person": True}, {"minor": True}], ids=["nsfw", "person", "minor"]
)
def test_marked_adapters_draw_only_if_the_params_say_so_and_minors_never(
    root: Path, models: ModelsParams, flags: dict[str, bool]
) -> None:
    change(root, lambda row: replace(row, **flags) if row.id == BARE[0] else row)  # type: ignore[arg-type]
    run(root, models)
    assert drawn(root) == {BARE[1]}
    run(root, models, replace(PARAMS, restricted=True))
    assert drawn(root) == ({BARE[1]} if "minor" in flags else {*BARE})


def test_a_share_of_the_adapters_draws(root: Path, models: ModelsParams) -> None:
    change(root, lambda row: replace(row, renderings=()))
    shares = [
        {rows[0].adapter for rows in stage.plan(root, replace(PARAMS, share=share), base(models), TODAY)}
        for share in (0.2, 0.5, 1.0)
    ]
    assert shares[0] <= shares[1] < shares[2] and len(shares[2]) == 12


@pytest.mark.parametrize(
    ("width", "height", "steps", "side", "drawn_steps"),
    [(1024, 768, 28, MAX_SIDE, MAX_STEPS), (1024, 256, 4, 256, 4)],
)
def test_drawings_are_not_larger_than_images(
    width: int, height: int, steps: int, side: int, drawn_steps: int
) -> None:
    given = small_root.params()
    generation = replace(given.generation, width=width, height=height, steps=steps)
    drawing = Base.of(replace(given, generation=generation)).generation
    assert (drawing.width, drawing.height, drawing.steps) == (side, side, drawn_steps)


def test_none_a_day_draws_nothing_and_another_recipe_draws_again(root: Path, models: ModelsParams) -> None:
    assert run(root, models, replace(PARAMS, per_day=0)) == 0
    assert run(root, models) == 2
    before = {row.image for rows in read_drawings(root).values() for row in rows}
    assert run(root, models, steps=2) == 2
    after = {row.image for rows in read_drawings(root).values() for row in rows}
    assert len(after) == len(before) and not after & before


def test_what_comes_back_is_not_drawn_again(
    root: Path, models: ModelsParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = catalog.read_all_or_empty(root)
    run(root, models)
    lines = drawings_path(root).read_bytes()
    pooled = list(read_rows(root / "data/pool/adapters.jsonl"))
    write_rows(root / "data/pool/adapters.jsonl", [])
    run(root, models)
    assert not read_drawings(root)
    write_rows(root / "data/pool/adapters.jsonl", pooled)
    catalog.write(root, listings)
    monkeypatch.setattr(Generator, "pipeline", property(lambda self: pytest.fail("draws")))
    assert run(root, models) == 2 and drawings_path(root).read_bytes() == lines


def test_drawings_are_captioned_and_known_as_such(root: Path, models: ModelsParams) -> None:
    run(root, models)
    images = {row.image for rows in read_drawings(root).values() for row in rows}
    params = small_root.params().captions
    planned = {image for batch in captions.plan(root, params, "v") for image in batch.images}
    assert images <= planned
    append_rows(root / "data/captions/captions.jsonl", map(Caption.to_row, written(sorted(images))))
    (root / dataset.TRAINING_LOCK).unlink()
    small_root.build_dataset(root)
    ids = {row["sha256"]: row["id"] for row in dataset.rows(root, "adapters")}
    assert {row["id"] for row in dataset.rows(root, "adapters") if row["drawn"]} == {*BARE}
    assert not {prompt.image for prompt in dataset.prompts(root)} & images, "they are no queries"
    locked = {ids[row.sha256]: row for row in dataset.training_lock(root).rows}
    assert locked[BARE[0]].drawn and set(locked[BARE[0]].renderings) <= images
    assert not locked["author0/rocket"].drawn


def written(images: Sequence[str]) -> list[Caption]:
    return [caption for image in images for caption in small_root.make_captions(image, "cat")]


def test_a_rendering_of_a_hub_replaces_drawings(root: Path, models: ModelsParams) -> None:
    listings = {row.id: row for row in catalog.read_all_or_empty(root)}
    run(root, models)
    shown = listings["author1/cat"].renderings
    change(root, lambda row: replace(row, renderings=shown) if row.id == BARE[0] else row)
    small_root.build_dataset(root)
    assert {row["id"] for row in dataset.rows(root, "adapters") if row["drawn"]} == {BARE[1]}


def test_a_takedown_covers_the_drawings(root: Path, models: ModelsParams) -> None:
    run(root, models)
    (rows,) = [rows for rows in read_drawings(root).values() if rows[0].prompt == "zq0/"]
    scope = find_scope(root, [BARE[0]], "asked", TODAY)
    assert {row.sha256 for row in scope.rows if row.kind == "rendering"} == {row.image for row in rows}


WRITES = ("replace", "rename", "fsync")


def test_a_run_that_is_killed_at_any_write_loses_nothing(
    root: Path, models: ModelsParams, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is the next run that completes it; at most the adapter that was drawing draws again."""
    reference = shutil.copytree(root, tmp_path_factory.mktemp("reference") / "root")
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 10**6, WRITES)
        run(reference, models)
    assert len(calls) > 20
    number_drawn: list[int] = []
    for point in range(2 * len(calls)):
        copy = shutil.copytree(root, tmp_path_factory.mktemp("killed") / "root")
        with pytest.MonkeyPatch.context() as patch:
            number_drawn.append(0)
            patch.setattr(stage, "_draw_images", counted(number_drawn))
            with pytest.MonkeyPatch.context() as inner, pytest.raises(Killed):
                kill_at(inner, point, WRITES)
                run(copy, models)
            run(copy, models)
        assert read_drawings(copy) == read_drawings(reference), point
        assert contents(copy) == contents(reference), point
        shutil.rmtree(copy)
    assert max(number_drawn) <= 3 * len(PROMPTS) and min(number_drawn) == 2 * len(PROMPTS)


def counted(numbers: list[int]) -> Callable[..., Any]:
    """Return what draws, and adds to the last number how many images were asked for."""
    original = stage._draw_images

    def draw(rows: Sequence[Drawing], *rest: Any) -> Any:
        numbers[-1] += len(rows)
        return original(rows, *rest)

    return draw


def contents(root: Path) -> dict[str, object]:
    """Return the digest and the members of all batches, and the names of all images."""
    members = batches.members(root)["renderings"]
    return {
        "digest": read_digest(root, "drawings"),
        "members": members,
        "images": batches.present_files(root, "renderings"),
    }
