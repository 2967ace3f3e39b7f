"""The walls of the house, as tests."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from autolora.cli import app
from autolora.params import Params, load

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = ("crawl", "pool", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments")
SECTIONS_WITHOUT_STAGE = {"models", "hubs", "vllm", "retrieval", "generation", "judges", "refresh"}
OPTIONS = {
    "search": {"prompt", "k", "rev", "as_json"},
    "generate": {"prompt", "k", "method", "seed", "output", "rev"},
    "show": {"adapter", "as_json"},
    "versions": {"as_json"},
    "release": {"rev"},
    "report": set(),
}


def test_pipeline_holds_the_nine_stages() -> None:
    assert tuple(PIPELINE) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_in_six_places(stage: str) -> None:
    assert stage in {field.name for field in fields(Params)}
    assert (ROOT / "autolora" / stage / "stage.py").exists()
    assert (ROOT / "flows" / f"{stage}.py").exists()
    assert list((ROOT / "tests" / stage).glob("test_*.py"))
    assert f"\n| `{stage}` |" in (ROOT / "README.md").read_text()
    assert PIPELINE[stage]["cmd"] == f"python -m flows.{stage}"


def test_sections_are_stages_or_known() -> None:
    assert {field.name for field in fields(Params)} == set(STAGES) | SECTIONS_WITHOUT_STAGE


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "crawl"])
def test_a_stage_depends_on_the_modules_it_imports(stage: str) -> None:
    listed = {dep for dep in PIPELINE[stage]["deps"] if dep.endswith(".py")}
    assert listed == first_party_imports(ROOT / "flows" / f"{stage}.py")


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


def test_command_line_options_are_frozen() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a click group
    assert {name: {param.name for param in command.params} for name, command in commands.items()} == OPTIONS


def test_no_file_has_a_name_that_says_nothing() -> None:
    banned = {"utils", "util", "common", "helpers", "base", "misc"}
    modules = [
        path for top in ("autolora", "flows", "playground", "bench") for path in (ROOT / top).rglob("*.py")
    ]
    assert not [path for path in modules if path.stem in banned]


def first_party_imports(path: Path) -> set[str]:
    """Return the project's modules that `path` imports, directly or not, and itself, relative to the root."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += _imported_modules(module)
    return {str(module.relative_to(ROOT)) for module in found if module.stat().st_size}


def _imported_modules(path: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    parts = [name.split(".") for name in names if name.split(".")[0] in ("autolora", "flows")]
    prefixes = {tuple(words[:end]) for words in parts for end in range(1, len(words) + 1)}
    candidates = [ROOT.joinpath(*prefix) for prefix in prefixes]
    files = [folder.with_suffix(".py") for folder in candidates] + [
        folder / "__init__.py" for folder in candidates
    ]
    return [file for file in files if file.is_file()]
