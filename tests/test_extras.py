"""The extras of the installation, and the libraries that the code imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from autolora.errors import MissingLibrary
from autolora.extras import EXTRAS, LIBRARIES, check_installed, libraries_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PARTS = {
    "httpcore2": "httpx2", "markupsafe": "jinja2", "pydantic": "typer", "starlette": "fastapi",
    "tqdm": "huggingface_hub",
}  # fmt: skip
"""module -> the library that requires it, so that it is installed wherever that is"""


def required(names: list[str]) -> set[str]:
    """Return the distributions of requirements, and those of the extras of AutoLoRA that they name."""
    found = set()
    for name in names:
        if extras := re.fullmatch(r"autolora\[(.*)\]", name):
            for extra in extras[1].split(","):
                found |= required(PROJECT["optional-dependencies"][extra])
        found.add(re.split(r"[<>=\[]", name)[0].lower().replace("_", "-"))
    return found


def distributions(module: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in packages_distributions()[module]}


def imported_modules() -> set[str]:
    """Return the modules that some file of autolora imports, without those of Python and its own."""
    modules = set()
    for path in (ROOT / "autolora").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules |= {name.partition(".")[0] for name in names}
    return modules - sys.stdlib_module_names - {"autolora"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_has_its_libraries(extra: str) -> None:
    installed = required(PROJECT["optional-dependencies"][extra])
    assert [module for module in EXTRAS[extra] if not distributions(module) & installed] == []  # type: ignore[index]


def test_each_imported_module_is_required_by_the_core_or_an_extra() -> None:
    core = required(PROJECT["dependencies"])
    modules = {PARTS.get(module, module) for module in imported_modules()}
    assert {module for module in modules if not distributions(module) & core} <= LIBRARIES


def test_the_core_has_no_library_of_an_extra() -> None:
    core = required(PROJECT["dependencies"])
    assert [module for module in LIBRARIES if distributions(module) & core] == []


def test_a_module_of_no_extra_is_not_blamed_on_an_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), libraries_for("a test"):
        import no_such_module  # noqa: F401


@pytest.mark.parametrize(
    ("library", "asked", "named"),
    [("torch", "weights", "weights"), ("lance", "weights", "pipeline"), ("uvicorn", "serve", "serve")],
)
def test_the_extra_that_has_the_library_is_named(
    library: str, asked: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"a test needs {library}, .*autolora\[{named}\]"
    with pytest.raises(MissingLibrary, match=message), libraries_for("a test", asked):  # type: ignore[arg-type]
        __import__(library)


def test_a_library_of_another_process_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed("a test", "dvc")
    monkeypatch.setitem(sys.modules, "dvc", None)
    with pytest.raises(MissingLibrary, match=r"a test needs dvc, .*autolora\[pipeline\]"):
        check_installed("a test", "dvc")
