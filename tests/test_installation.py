"""What `make` installs: exact versions with hashes of their files, and a sentence encoder whose weights are known."""

import re
import tomllib
from pathlib import Path

from autolora.storage.hashes import hash_file
from autolora.text_encoder.sentence_folder import locate_sentence_encoder
from tests.text_encoder.sentence_models import MINILM

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
LOCKED = re.compile(r"([A-Za-z0-9._-]+)==([^\s+]+)( --hash=sha256:[0-9a-f]{64})+")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_library_has_a_version_and_the_hashes_of_its_files() -> None:
    assert [line for line in LINES if not LOCKED.fullmatch(line)] == []
    assert "--require-hashes" in (ROOT / "Makefile").read_text()


def test_what_the_project_requires_and_is_built_with_is_locked() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = content["project"]["optional-dependencies"]
    wanted = [*content["build-system"]["requires"], *content["project"]["dependencies"]]
    for extra in ("dev", "pipeline", "ray", "serve", "weights"):
        wanted += extras[extra]
    names = {normal(re.split(r"[\[<>=~!;]", requirement)[0].strip()) for requirement in wanted} - {"autolora"}
    assert names <= {normal(line.partition("==")[0]) for line in LINES}


def test_the_weights_of_the_sentence_encoder_are_those_of_the_original() -> None:
    """The package that has them is of a third party; SECURITY.md states their sha256."""
    folder = locate_sentence_encoder(ROOT, MINILM, None)
    assert hash_file(folder / "model.safetensors") in (ROOT / "SECURITY.md").read_text()
