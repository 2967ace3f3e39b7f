"""The documents agree with the code: what they name exists, and commands and params are documented."""

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from autolora.cli import app
from autolora.cli.search import search
from autolora.presets.encoder import EncoderVariant
from autolora.presets.fusion import FusionVariant

ROOT = Path(__file__).parents[1]
ENTRY_PAGES, LOG = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ROOT / "docs/LOG.md"
PAGES = [*ENTRY_PAGES, *sorted((ROOT / "docs").rglob("*.md"))]
CURRENT_PAGES = [page for page in PAGES if page != LOG]
"""without the log, whose entries name what existed on their day"""
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
TOP_FOLDERS = ("autolora", "flows", "bench", "studies", "tests", "docs", "profiles")
SELF_EXPLANATORY = {
    "seed",
    "height",
    "civitai",
    "huggingface",
    "modelscope",
    "folder",
    "short",
    "medium",
    "long",
}
"""params whose name, neighbors and section explain them"""
OVERRIDES = {
    f"{section}.overrides.{field.name}"
    for section, variant in (("encoder", EncoderVariant), ("fusion", FusionVariant))
    for field in fields(variant)
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_current_page = pytest.mark.parametrize(
    "page", CURRENT_PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def code_in(page: Path) -> Iterator[str]:
    """Yield the text of a page that is set as code: fenced blocks, indented lines, and spans in backticks."""
    fence = re.compile(r"^```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    prose = fence.sub("", TEXT[page])
    yield from fence.findall(TEXT[page])
    yield from re.findall(r"^    .*$", prose, flags=re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", prose)


def named_in(page: Path, pattern: str) -> set[str]:
    """Return the matches of a pattern in the code of a page."""
    return {match for code in code_in(page) for match in re.findall(pattern, code)}


def links_in(page: Path) -> list[str]:
    """Return the targets of the relative links of a page, but not those in quoted output."""
    prose = re.sub(r"^    .*$", "", TEXT[page], flags=re.MULTILINE)
    targets: list[str] = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in targets if not re.match(r"\w+:", target)]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, formed as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_begins_with_two_commands() -> None:
    text = TEXT[ROOT / "README.md"]
    assert len(text.split()) <= 800
    assert re.findall(r"^    (make \w+)", text, flags=re.MULTILINE) == ["make demo", "make test"]


def test_the_language_of_prompts_is_said_where_one_searches() -> None:
    page = (ROOT / "autolora/web/templates/search.html").read_text()
    shown = (TEXT[ROOT / "README.md"], TEXT[ROOT / "docs/howto/search.md"], search.__doc__ or "", page)
    assert all("English" in text for text in shown)


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links_in(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_another() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links_in(page)}
    assert not [page for page in CURRENT_PAGES if page not in {*ENTRY_PAGES, *linked}]


@each_current_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named_in(page, r"\bmake ([a-z0-9-]+)") <= targets


@each_current_page
def test_modules_exist(page: Path) -> None:
    modules = named_in(page, r"python -m ([\w.]+)(?![\w.<])")  # <: a placeholder follows
    assert not [module for module in sorted(modules) if not is_runnable(module)]


def is_runnable(module: str) -> bool:
    """Return whether `python -m` can run a module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return False
    is_package = spec is not None and spec.submodule_search_locations is not None
    return importlib.util.find_spec(f"{module}.__main__") is not None if is_package else spec is not None


@each_current_page
def test_paths_exist(page: Path) -> None:
    folders = "|".join(TOP_FOLDERS)
    paths = {path.rstrip(".") for path in named_in(page, rf"(?<![\w./<-])(?:{folders})/(?!\.)[\w.<>*/-]*")}
    assert not [path for path in sorted(paths) if not [*ROOT.glob(re.sub(r"<\w+>", "*", path))]]


@each_current_page
def test_params_keys_exist(page: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    keys = named_in(
        page, rf"(?<![\w./-])((?:{'|'.join(content)})(?:\.[a-z_]+)+)(?![\w/(])"
    )  # before ( it is a call
    assert keys <= {*dotted_keys(content), *OVERRIDES}


def dotted_keys(content: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yield the path of every key of params.yaml, sections included."""
    for key, value in content.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from dotted_keys(value, f"{prefix}{key}.")


@pytest.mark.parametrize("name", sorted(get_command(app).commands))  # type: ignore[attr-defined]  # a click group
def test_every_command_is_documented(name: str) -> None:
    assert any(named_in(page, rf"autolora {name}\b") for page in CURRENT_PAGES)


def test_every_field_of_the_params_has_a_docstring() -> None:
    files = [file for room in ("params", "presets") for file in (ROOT / "autolora" / room).glob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    sections = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    names = {section.name for section in sections}
    assert {"EncoderVariant", "FusionVariant", "Params", "PoolParams"} <= names
    assert not [
        f"{section.name}.{field}" for section in sections for field in undocumented_fields(section, names)
    ]


def undocumented_fields(section: ast.ClassDef, sections: set[str]) -> Iterator[str]:
    """Yield the fields without a docstring. A field whose type is a section needs none: the section has one."""
    for node, following in pairwise([*section.body, ast.Pass()]):
        has_docstring = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and not has_docstring:
            name = ast.unparse(node.target)
            if name not in SELF_EXPLANATORY and ast.unparse(node.annotation) not in sections:
                yield name


def test_every_key_of_params_yaml_has_a_comment() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert not [key for key in uncommented_keys(text) if key.rpartition(".")[2] not in SELF_EXPLANATORY]


def uncommented_keys(text: str) -> Iterator[str]:
    """Yield the keys with a value but without a comment on their line, or on the line of their subsection."""
    path: list[str] = []
    commented: set[str] = set()
    for indent, key, rest in re.findall(r"^( *)(\w+):(.*)$", text, flags=re.MULTILINE):
        path[len(indent) // 2 :] = [key]
        value, _, comment = rest.partition(" # ")
        subsection = ".".join(path[:-1])
        if comment and len(path) > 1:
            commented.add(".".join(path))
        if value.strip() and not comment and subsection not in commented:
            yield ".".join(path)
