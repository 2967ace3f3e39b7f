"""Conventions of the project, as tests."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from autolora import stages
from autolora.params import Params, load
from flows import code_digests

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = ("crawl", *stages.STAGES)
SEED = "seed"
SECTIONS_WITHOUT_STAGE = {
    "models",
    "hubs",
    "vllm",
    "retrieval",
    "generation",
    "judges",
    "operation",
    "refresh",
    "storage",
}


def test_pipeline_consists_of_the_code_check_and_ten_stages() -> None:
    assert tuple(PIPELINE) == ("code", *STAGES)


STAGES_WITHOUT_SECTION = {"index"}
"""of which nothing can be chosen"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_in_six_places(stage: str) -> None:
    assert (stage in {field.name for field in fields(Params)}) == (stage not in STAGES_WITHOUT_SECTION)
    assert (ROOT / "autolora" / stage / "stage.py").exists()
    assert (ROOT / "flows" / f"{stage}.py").exists()
    assert list((ROOT / "tests" / stage).glob("test_*.py"))
    assert f"\n| `{stage}` |" in (ROOT / "README.md").read_text()
    assert PIPELINE[stage]["cmd"] == f"python -m flows.{stage}"


def test_sections_are_stages_or_known() -> None:
    assert {field.name for field in fields(Params)} == (
        set(STAGES) - STAGES_WITHOUT_SECTION | SECTIONS_WITHOUT_STAGE | {SEED}
    )


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "crawl"])
def test_a_stage_depends_on_its_code_digest_and_on_no_source_file(stage: str) -> None:
    deps = PIPELINE[stage]["deps"]
    assert {f"digests/code/{stage}.json", str(code_digests.CHECKED)} <= set(deps)
    assert not [dep for dep in deps if dep.endswith(".py")]


def test_no_stage_runs_again_because_of_a_measurement() -> None:
    deps = [dep for stage in PIPELINE.values() for dep in stage.get("deps", ())]
    assert deps and not [dep for dep in deps if dep.startswith("metrics")]


def test_code_digests_are_up_to_date() -> None:
    code_digests.check(ROOT, *stages.STAGES)


def test_crawl_depends_on_nothing() -> None:
    assert "deps" not in PIPELINE["crawl"]


def test_no_param_is_a_secret() -> None:
    names = [line.split(":")[0].strip() for line in (ROOT / "params.yaml").read_text().splitlines()]
    assert not [
        name for name in names if any(word in name for word in ("secret", "password", "api_key", "_token:"))
    ]


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))], ids=lambda p: p.name
)
def test_every_profile_passes_the_strict_loader(path: Path) -> None:
    load(path)


def test_no_file_has_a_name_that_says_nothing() -> None:
    banned = {"utils", "util", "common", "helpers", "base", "misc"}
    modules = [
        path
        for top in ("autolora", "flows", "playground", "bench", "studies")
        for path in (ROOT / top).rglob("*.py")
    ]
    assert not [path for path in modules if path.stem in banned]
