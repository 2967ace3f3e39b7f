"""bench.concepts in small: tasks, sources, baselines, costs, and rows on a small repository."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autolora import models
from autolora.concepts.store import CaptionedImage
from autolora.lora.sketch import Sketch
from autolora.params import Params
from bench import concept_attack, concept_baselines, concept_costs, concept_sources, concepts
from bench.concept_material import Material, restrict, run_stage, write_corpus
from bench.concept_pools import (
    Member,
    Rendering,
    RetrievalTask,
    condition_tasks,
    locked_task,
    read_pool,
    theme_folds,
    without_own_galleries,
)
from bench.concept_rows import RIDGE, Row, Rows, always
from bench.encoders import CachingTextEncoder, encoder_params
from playground import bases, conditions, themes
from tests.support import small_root
from tests.support.tiny_flux import CONFIG

REPOSITORY = Path(__file__).parents[2]
NOTHING = Sketch(torch.zeros(1, 2, 2), torch.ones(1, dtype=torch.bool))


def member(number: int, theme: str, image: str | None = None) -> Member:
    """Return a LoRA with one rendering, of its own unless it is given."""
    shown = Rendering(image or f"image {number}", Path(f"{number}.png"), (f"a {theme}",))
    return Member(f"{number:02d}", f"family {number}", theme, NOTHING, (shown,))


def small_params(root: Path) -> Params:
    """Return params of a tiny pipeline in the root, with concepts of two images and two noise levels."""
    values = replace(small_root.params(), models=small_root.base(root))
    section = replace(
        values.concepts, image_size=32, noise_levels=(0.3, 0.7), batch=8, min_images=2, max_share=0.6
    )
    return replace(
        values,
        concepts=section,
        pool=replace(values.pool, sketch_size=8),
        generation=replace(values.generation, max_sequence_length=12),
        evaluation=replace(values.evaluation, bootstrap=50),
    )


def test_a_caption_of_a_training_image_is_no_query() -> None:
    members = (member(0, "cat"), member(1, "cat", "image 0"), member(2, "neon"))
    task = RetrievalTask(members, frozenset({"00"}), frozenset({"01", "02"}))
    assert [query.adapters for query in task.queries] == [("02",)]


def test_theme_folds_ask_once_for_every_lora_without_its_theme() -> None:
    members = tuple(member(number, f"theme {number % 7}") for number in range(20))
    folds = theme_folds(members, 3)
    assert sorted(name for fold in folds for name in fold.queried) == [row.sha256 for row in members]
    for fold in folds:
        trained = {fold.by_sha256[name].theme for name in fold.training}
        assert trained.isdisjoint(fold.by_sha256[name].theme for name in fold.queried)
        assert len(fold.training) + len(fold.queried) == 20


def test_no_two_loras_of_a_theme_lose_their_galleries_together() -> None:
    members = tuple(member(number, f"theme {number % 3}") for number in range(8))
    task = RetrievalTask(members, frozenset({"00"}), frozenset(row.sha256 for row in members[1:]))
    parts = without_own_galleries(task)
    assert sorted(name for part in parts for name in part.queried) == sorted(task.queried)
    for part in parts:
        shown = [part.by_sha256[name].theme for name in part.queried]
        assert len(shown) == len(set(shown))


def test_each_theme_of_a_condition_is_asked_for_without_training_loras_of_it() -> None:
    reference = (member(0, "cat"), member(1, "neon"), member(2, "sand"))
    others = (member(7, "cat"), member(8, "sand"), member(9, "sand"))
    cat, sand = condition_tasks(others, reference)
    assert (sorted(cat.by_sha256), sorted(cat.queried)) == (["01", "02", "07", "08", "09"], ["07"])
    assert (sorted(sand.training), sorted(sand.queried)) == (["00", "01"], ["08", "09"])
    within = condition_tasks(others, others)
    assert [sorted(task.training) for task in within] == [["08", "09"], ["07"]]


def test_missing_material_is_named_with_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "HOME", tmp_path)
    base = replace(bases.FURTHER["seed"], home=tmp_path / "flux-seed")
    monkeypatch.setitem(bases.FURTHER, "seed", base)
    monkeypatch.setitem(conditions.CONDITIONS, "seed", conditions.Condition(base))
    commands = ["python -m playground.bases seed", "python -m playground.conditions seed"]
    assert concept_attack.missing_commands("seed") == commands
    assert concept_attack.missing_commands("longer") == ["python -m playground.conditions longer"]
    text = concepts.describe("conditions", {"conditions": {"seed": {"missing": commands}}})
    assert "`python -m playground.bases seed`; `python -m playground.conditions seed`" in text


def test_captions_move_to_images_of_another_theme(tmp_path: Path) -> None:
    source = tmp_path / "world"
    source.mkdir()
    for number, theme in enumerate(themes.single_themes()[:3]):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(source / f"{number:06d}.png")
        (source / f"{number:06d}.txt").write_text(f"a {theme}\n")
        image = CaptionedImage(sha256="", caption="", source=f"{number:06d}.png", families=(), gradient="")
        assert concept_sources.theme_of(image) == theme
    moved = concept_sources.exchange_captions(source, "moved")
    texts = [path.read_text().strip() for path in sorted(moved.glob("*.txt"))]
    first, second, third = (f"a {theme}" for theme in themes.single_themes()[:3])
    assert texts == [second, third, first]
    assert (moved / "000000.png").read_bytes() == (source / "000000.png").read_bytes()


def test_operations_grow_with_images_and_every_slot_has_tokens() -> None:
    small, large = (concept_costs.count_image(side, 8, CONFIG) for side in (64, 128))
    assert 0 < small["sketch"] < small["pass"] < large["pass"]
    assert large["sketch"] > small["sketch"]
    streams = {slot.type: concept_costs.stream_of(slot.type) for slot in small_root.SLOTS}
    assert streams["double.attn.add_q_proj"] == streams["double.ff_context.net.2"] == "text"
    assert streams["double.attn.to_q"] == "image" and streams["single.proj_out"] == "single"
    assert streams["single.norm.linear"] == streams["double.norm1_context.linear"] == "modulation"


def test_baseline_predicts_concepts_from_colors(tmp_path: Path) -> None:
    red, blue = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(20, 2, generator=generator) + torch.tensor(np.stack([red, blue] * 10)) * 5
    labels = torch.tensor(np.stack([red, blue] * 10))
    families = [str(number) for number in range(20)]
    none = torch.zeros(0, 2)
    solution = concept_baselines.choose(pixels - pixels.mean(0), labels, families, none, none, ())
    predicted = (pixels - pixels.mean(0)).double() @ solution
    assert (predicted.argmax(1) == labels.argmax(1)).all()
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "a.png")
    colors = concept_baselines.square_colors({"a": tmp_path / "a.png"})["a"]
    assert colors.tolist() == pytest.approx([1.0, 0.0, 0.2] * concept_baselines.SQUARES**2)


def test_rows_are_measured_on_a_small_repository(tmp_path: Path) -> None:
    values = small_params(tmp_path)
    judged = small_root.build(tmp_path, values.models)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    rows_of_themes = {sha256: {"theme": theme} for sha256, theme in judged.items()}
    (tmp_path / "themes.json").write_text(str(rows_of_themes).replace("'", '"'))
    members = read_pool(tmp_path, tmp_path / "themes.json")
    assert {row.sha256: row.theme for row in members} == judged
    material = draw_material(tmp_path, values)
    assert {phrase for phrase in ("cat", "neon") if phrase in {c.phrase for c in material.concepts.concepts}}
    kept = restrict(material, "cats", values.concepts, lambda image: "cat" in image.caption)
    assert len(kept.images) == 4 < len(material.images)
    text_encoder = CachingTextEncoder(models.load_text_encoder(values.models))
    rows = Rows(tmp_path, values, encoder_params(tmp_path, "best", {}, 0, None), text_encoder)
    tasks = theme_folds(members, 2)
    tables = rows.tables(
        {
            RIDGE: Row(lambda task, seed: None, tasks, [0]),
            "corpus": Row(always(lambda seed: material), tasks, [0, 1]),
        }
    )
    whole = tables["whole index"]["theme"]
    assert list(whole) == [RIDGE, "caption centroid", "chance", "corpus"]
    assert len(whole["corpus"]["R@1"]["seeds"]) == 2 and whole["corpus"]["R@1"]["clusters"] == len(members)


def test_all_images_of_the_lora_that_is_asked_for_are_left_out(tmp_path: Path) -> None:
    values = small_params(tmp_path)
    judged = small_root.build(tmp_path, values.models)
    (tmp_path / "themes.json").write_text(
        json.dumps({sha256: {"theme": theme} for sha256, theme in judged.items()})
    )
    locked = locked_task(tmp_path, read_pool(tmp_path, tmp_path / "themes.json"))
    unseen = sorted(locked.by_sha256.keys() - locked.training)
    asked = frozenset({unseen[0], min(locked.training)})
    task = replace(locked, queried=asked)
    everything = concept_sources.galleries_material(tmp_path, tmp_path / "cache", values, task, seed=0)
    left = concept_sources.own_left_out(everything, "left", values, task)
    own = {image.path.read_bytes() for sha256 in asked for image in task.by_sha256[sha256].renderings}
    before, after = (
        {path.read_bytes() for path in material.paths.values()} for material in (everything, left)
    )
    assert len(own) == 4 and own < before
    assert after == before - own


def draw_material(root: Path, values: Params) -> Material:
    """Return the material of eight images of two themes."""
    files = root / "files"
    files.mkdir()
    captioned = {}
    for number in range(8):
        name = f"{number}.png"
        Image.new("RGB", (32, 32), (30 * number, 90, 200)).save(files / name)
        captioned[name] = (files / name, f"a {'cat' if number % 2 else 'neon'} in place {number}")
    write_corpus(root / "cache" / "corpora" / "drawn", captioned)
    return run_stage(root, root / "cache", values, "drawn", root / "cache" / "corpora" / "drawn")
