"""Code digests: what changes one, what does not, and what a stale one leads to."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from autolora.errors import MismatchError
from autolora.stages import STAGES
from flows import code_digests
from flows.code_digests import CONSTANTS, check, code_digest, hash_module, write

SOURCE = '''"""Doubles numbers."""

FACTOR = 2
"""the factor"""


def double(value: float, name: str = "") -> str:
    """Return twice the value."""
    # a comment
    return f"{name}{value * FACTOR:.1f}{''}"
'''
SAME = (
    SOURCE.replace("Doubles numbers.", "Multiplies by two."),
    SOURCE.replace('"""the factor"""\n', ""),
    SOURCE.replace('    """Return twice the value."""\n', ""),
    SOURCE.replace("# a comment", "# another comment"),
    SOURCE.replace("value * FACTOR", "(value*FACTOR)"),
)
DIFFERENT = (
    SOURCE.replace("FACTOR = 2", "FACTOR = 3"),
    SOURCE.replace("FACTOR = 2", "FACTOR = 2.0"),
    SOURCE.replace("value * FACTOR", "value + FACTOR"),
    SOURCE.replace(".1f", ".2f"),
    SOURCE.replace('name: str = ""', "name: str = 'x'"),
    SOURCE.replace("{name}", "{name!r}"),
)
DIGEST = "7cf0eabc5cfee8deba25cb9f3fbd352bba6e39756d9b901547205cc16629648f"
"""of SOURCE, on every version of Python"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one stage that imports a module of numbers and one of plumbing."""
    monkeypatch.setattr(code_digests, "STAGES", ("pool",))
    monkeypatch.setattr(code_digests, "CODE", tmp_path)
    files = {
        "flows/pool.py": "from autolora.pool import stage\n",
        "autolora/pool/stage.py": "from autolora.pool.numbers import double\nfrom autolora.params import load\n",
        "autolora/pool/numbers.py": SOURCE,
        "autolora/params/__init__.py": "import autolora.errors, autolora.presets.encoder\n",
        "autolora/params/pool.py": "class Pool:\n    size: int\n    limit: float = 25.0\n",
        "autolora/errors.py": "class Wrong(Exception): pass\n",
        "autolora/presets/encoder.py": "X = 1\n",
        "autolora/unused.py": "X = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("text", SAME)
def test_comments_docstrings_and_layout_do_not_change_a_hash(tmp_path: Path, text: str) -> None:
    assert text != SOURCE and hashed(tmp_path, text) == hashed(tmp_path, SOURCE)


@pytest.mark.parametrize("text", DIFFERENT)
def test_every_other_change_changes_it(tmp_path: Path, text: str) -> None:
    assert text != SOURCE and hashed(tmp_path, text) != hashed(tmp_path, SOURCE)


def test_hash_is_equal_on_all_python_versions(tmp_path: Path) -> None:
    assert hashed(tmp_path, SOURCE) == DIGEST


def test_digest_covers_imported_modules_without_plumbing(root: Path) -> None:
    assert list(code_digest("pool")) == [CONSTANTS, "autolora/pool/numbers.py", "autolora/pool/stage.py"]


def test_the_estimates_of_all_stages_are_code_of_none(root: Path) -> None:
    before = code_digest("pool")
    plan = root / "autolora/planning/plan.py"
    plan.parent.mkdir()
    plan.write_text("import autolora.presets.encoder\n")
    stage = root / "autolora/pool/stage.py"
    stage.write_text("import autolora.planning.plan\n" + stage.read_text())
    assert code_digest("pool").keys() == before.keys()


def test_digest_covers_the_constants_of_sections_and_no_other_code_of_theirs(root: Path) -> None:
    section = root / "autolora/params/pool.py"
    before, text = code_digest("pool"), section.read_text()
    section.write_text(text.replace("size: int", "size: float") + "\n\nlimit = 3\n")
    assert code_digest("pool") == before
    for changed in (
        text.replace("25.0", "26.0"),
        text.replace("limit", "most"),
        text.replace("Pool", "Index"),
    ):
        section.write_text(changed)
        after = code_digest("pool")
        assert after.pop(CONSTANTS) != before[CONSTANTS]
        assert after.items() < before.items()


def test_presets_count_for_a_stage_that_imports_them_itself(root: Path) -> None:
    (root / "autolora/pool/numbers.py").write_text("from autolora.presets.encoder import X\n")
    assert "autolora/presets/encoder.py" in code_digest("pool")


@pytest.mark.parametrize("stage", STAGES)
def test_code_that_reads_the_presets_of_a_model_depends_on_those_alone(stage: str) -> None:
    covered = code_digest(stage)
    for model in ("encoder", "fusion"):
        room = [name for name in covered if name.startswith(f"autolora/{model}/")]
        reads = any(re.search(r"\bvariant\b", (code_digests.CODE / name).read_text()) for name in room)
        assert (f"autolora/presets/{model}.py" in covered) == reads


def test_stale_digest_is_named_with_the_command_that_mends_it(root: Path) -> None:
    assert write(root) == ["pool"]
    check(root, "pool")
    (root / "autolora/errors.py").write_text("class Wrong(ValueError): pass\n")
    (root / "autolora/unused.py").write_text("X = 2\n")
    check(root, "pool")
    (root / "autolora/pool/numbers.py").write_text(DIFFERENT[0])
    with pytest.raises(MismatchError, match=r"code of pool .*\(autolora/pool/numbers.py\): run `make deps`"):
        check(root, "pool")
    assert write(root) == ["pool"]
    check(root, "pool")
    assert write(root) == []


def test_missing_digest_and_broken_module_are_errors(root: Path) -> None:
    with pytest.raises(MismatchError, match="make deps"):
        check(root, "pool")
    (root / "autolora/pool/numbers.py").write_text("def broken(:\n")
    with pytest.raises(MismatchError, match="is not valid Python"):
        write(root)


def hashed(folder: Path, text: str) -> str:
    """Return the hash of a module with this text."""
    path = folder / "module.py"
    path.write_text(text)
    return hash_module(path)


@pytest.mark.slow
def test_a_parse_that_another_thread_disturbs_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.11.7 does now and then in one of two threads that parse, which no test can bring about."""
    wanted, parse, errors = code_digest("encoder"), ast.parse, [SystemError("recursion depth mismatch")] * 2

    def disturbed(text: str) -> ast.Module:
        if errors:
            raise errors.pop()
        return parse(text)

    monkeypatch.setattr(code_digests.ast, "parse", disturbed)
    code_digests._read.cache_clear()  # else nothing is parsed again
    assert code_digest("encoder") == wanted and not errors


def test_a_module_that_stages_share_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the loader of params.yaml are read once more, for their constants."""
    parse, texts = ast.parse, Counter[str]()

    def counted(text: str) -> ast.Module:
        texts[text] += 1
        return parse(text)

    monkeypatch.setattr(code_digests.ast, "parse", counted)
    code_digests._read.cache_clear()
    code_digests._hash_constants.cache_clear()
    for stage in STAGES:
        code_digest(stage)
    monkeypatch.undo()
    repeated = [text for text, number in texts.items() if text and number > 2]
    assert len(texts) > 100 and not repeated
