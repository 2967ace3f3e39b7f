"""studies.paper.cases and prompts: who is loaded for which prompt."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from studies.paper.cases import draw_part, object_style_cases, random_sets
from studies.paper.prompts import other_prompts, synthetic_prompts
from studies.paper.world import World


def test_every_unseen_object_meets_every_unseen_style(world: World) -> None:
    cases = object_style_cases(world, 1, 2)
    unseen = {(a.kind, a.theme) for a in world.listed(unseen=True)}
    objects, styles = (sum(kind == wanted for kind, _ in unseen) for wanted in ("object", "style"))
    assert len(cases) == objects * styles > 0
    assert all(world.adapters[sha256].unseen for case in cases for sha256 in case.loaded)
    case = cases[0]
    assert case.content == f"a {case.themes[0]} in the {case.themes[1]} style"
    assert case.prompt.startswith(f"{case.content}, zq")
    assert case.seeds == (1000, 1001)
    assert object_style_cases(world, 1, 2, limits=(1, 1)) == cases[:1]


def test_random_sets_have_one_adapter_per_field_and_depend_on_the_run(world: World) -> None:
    cases = random_sets(world, 2, 3, 0, 1)
    assert cases == random_sets(world, 2, 3, 0, 1) != random_sets(world, 2, 3, 1, 1)
    for case in cases:
        first, second = (world.adapters[sha256] for sha256 in case.loaded)
        assert world.field(first) != world.field(second)
        assert all(word in case.prompt and word not in case.content for word in first.trigger_words)
        assert case.content.split(", ")[0] in {caption.rstrip(".") for caption in first.captions}


def test_cases_of_one_theme_by_several_adapters_share_a_member(world: World) -> None:
    first, *others = world.listed(unseen=True)
    twin = replace(first, sha256="f" * 64)
    adapters = {adapter.sha256: adapter for adapter in (first, twin, *others)}
    cases = random_sets(replace(world, adapters=adapters), 1, len(adapters), 0, 1)
    members = {case.adapters: case.groups for case in cases}
    assert members[first.sha256,] == members[twin.sha256,] == (("topic", first.topic),)
    assert len(set(members.values())) < len(members)


def test_there_is_no_set_of_more_adapters_than_fields(world: World) -> None:
    assert random_sets(world, 3, 2, 0, 1) == []


def test_a_part_uses_adapters_equally_often(world: World) -> None:
    cases = object_style_cases(world, 0, 1)
    part = draw_part(cases, 2, 0)
    assert part == draw_part(cases, 2, 0) and len({case.prompt for case in part}) == len(part)
    assert draw_part(cases, 100, 0) != [] and len(draw_part(cases, 100, 0)) == len(cases)


def test_prompts_of_table_1_load_nothing(world: World) -> None:
    cases = synthetic_prompts(world, 4, 0)
    assert cases and all(not case.loaded and case.prompt == case.content for case in cases)
    assert {sha256 for case in cases for sha256 in case.adapters} <= {*world.adapters}
    assert all(len(case.adapters) == len(case.groups) > 0 for case in cases)


def test_other_prompts_come_from_a_file(world: World, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a castle\n\na river\na castle\n")
    assert {case.prompt for case in other_prompts(world, path, 5, 0)} == {"a castle", "a river"}
    assert len(other_prompts(world, path, 1, 0)) == 1


def test_a_world_that_is_not_the_playground_needs_a_file_of_prompts(world: World, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"a text file with a prompt per line.*--other-prompts FILE"):
        other_prompts(world, None, 1, 0)
    with pytest.raises(MissingArtifact, match="cannot be read"):
        other_prompts(world, tmp_path / "missing.txt", 1, 0)
