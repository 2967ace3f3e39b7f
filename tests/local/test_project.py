"""The params.yaml of a new project: the template with other values."""

from pathlib import Path

import pytest
import yaml

from autolora.errors import ParamsError
from autolora.local.project import OWN_FILES, TEMPLATE, find_project, set_values, write_project
from autolora.params import load
from autolora.stages import is_pipeline

PROFILE = Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml"


def test_the_template_is_the_profile_of_the_full_model() -> None:
    assert TEMPLATE.read_bytes() == PROFILE.read_bytes()


def test_a_new_project_passes_the_strict_loader(tmp_path: Path) -> None:
    params = load(write_project(tmp_path, {"hubs.folder.path": "/a b/ä: #1"}))
    assert params.hubs.folder.path == "/a b/ä: #1"
    assert (params.crawl.hubs, params.crawl.bases, params.captions.engine) == (("folder",), (), None)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_all_other_values_are_those_of_the_template(tmp_path: Path) -> None:
    def flat(content: object, prefix: str = "") -> dict[str, object]:
        if not isinstance(content, dict):
            return {prefix: content}
        return {
            key: value
            for name, part in content.items()
            for key, value in flat(part, f"{prefix}.{name}").items()
        }

    written = flat(yaml.safe_load(write_project(tmp_path, {}).read_text()))
    template = flat(yaml.safe_load(TEMPLATE.read_text()))
    changed = {name.removeprefix(".") for name in written if written[name] != template[name]}
    assert written.keys() == template.keys()
    assert changed == OWN_FILES.keys()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("mine")
    with pytest.raises(ParamsError, match="exists already"):
        write_project(tmp_path, {})
    assert (tmp_path / "params.yaml").read_text() == "mine"


TEXT = """\
# title
one:                        # a section
  name: 1                   # first
  inner:
    name: null              # second

two:
  name: [a, b]
"""


def test_values_are_replaced_and_comments_stay() -> None:
    changed = set_values(TEXT, {"one.name": "x" * 40, "one.inner.name": 2.5, "two.name": ["c: d"]})
    assert yaml.safe_load(changed) == {
        "one": {"name": "x" * 40, "inner": {"name": 2.5}},
        "two": {"name": ["c: d"]},
    }
    for comment in ("# title", "# a section", " # first", " # second"):
        assert comment in changed
    assert set_values(TEXT, {}) == TEXT


@pytest.mark.parametrize(
    "value",
    [None, True, 3, "yes", "null", "1", "1:30", "a #b", "", "ä\n", ["x", None], "~/loras", "x " * 200],
)
def test_values_of_all_kinds_are_read_back(value: object) -> None:
    assert yaml.safe_load(set_values(TEXT, {"one.inner.name": value}))["one"]["inner"]["name"] == value


@pytest.mark.parametrize(
    "key", ["three", "one.other", "one.inner.other", "two.inner", "two.inner.name", "nam"]
)
def test_an_unknown_key_is_an_error(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        set_values(TEXT, {key: 1})


def test_a_key_that_stands_twice_is_an_error() -> None:
    with pytest.raises(ParamsError, match=r'duplicate key "name".*keep one'):
        set_values(TEXT.replace("  inner:\n", "  name: 2\n  inner:\n"), {"two.name": 1})


def test_the_nearest_folder_with_params_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_project(inner) is None
    (tmp_path / "params.yaml").touch()
    assert find_project(inner) == tmp_path and not is_pipeline(tmp_path)
    (tmp_path / "a" / "params.yaml").touch()
    assert find_project(inner) == tmp_path / "a"
    (tmp_path / "a" / "dvc.yaml").touch()
    assert is_pipeline(tmp_path / "a")
