"""The public interface, and the imports of the core installation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import autolora
from autolora.extras import LIBRARIES

PACKAGE = Path(__file__).parents[1] / "autolora"
OPTIONAL = (*LIBRARIES, "huggingface_hub", "httpx2", "matplotlib")


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Return which of these modules a new process has imported after it has run `code`."""
    probe = f"import sys\n{code}\nprint(*(name for name in {names!r} if name in sys.modules))"
    completed = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return completed.stdout.split()


@pytest.mark.slow
def test_search_imports_no_optional_library() -> None:
    assert imported("import autolora.cli, autolora.models; autolora.open", OPTIONAL) == []


def test_importing_the_package_imports_nothing_large() -> None:
    assert imported("import autolora", (*OPTIONAL, "numpy", "yaml")) == []


@pytest.mark.parametrize("name", autolora.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(autolora, name) is not None
    assert name in dir(autolora)


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        autolora.nonsense  # noqa: B018


def test_stub_declares_the_public_names_at_their_location() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    locations = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert locations == autolora._LOCATIONS
    (declared,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"  # type: ignore[attr-defined]
    )
    assert sorted(ast.literal_eval(declared)) == sorted(autolora.__all__)


def test_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
