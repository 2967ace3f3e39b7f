"""An index of a git revision is published with the settings and gates of that revision."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.fusion import store as fusion
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.params import load
from autolora.publication.folder import write_published_index
from autolora.publication.manifest import Manifest, read_manifest
from autolora.storage.incremental import digest_path
from tests.support import small_root
from tests.support.repository import IDENTITY


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a commit and no DVC."""
    root = tmp_path_factory.mktemp("repository")
    base = small_root.base(root)
    small_root.build(root, base, 2)
    release(root, content_digest(root))
    content = yaml.safe_load((small_root.REPOSITORY / "params.yaml").read_text())
    content["models"]["pipeline"] = base.pipeline
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    write_gates_digest(root, "1" * 64)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    commit(root)
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """Return a copy of the repository, which a test may change."""
    return shutil.copytree(built, tmp_path / "repository", symlinks=True)


def commit(root: Path) -> None:
    for command in (["add", "params.yaml", "digests"], ["commit", "-q", "-m", "state"]):
        subprocess.run(["git", *command], cwd=root, check=True, env=os.environ | IDENTITY)


def write_gates_digest(root: Path, weights: str) -> None:
    digest_path(root, "fusion").write_text(json.dumps({"rows": 1, "sha256": "0" * 64, "weights": weights}))


def set_retrieval(root: Path, **values: int) -> None:
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["retrieval"] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(content))


def publish(root: Path) -> tuple[Path, Manifest]:
    """Publish the index of HEAD with what the working tree has now."""
    folder = root.parent / "published"
    write_published_index(root, load(root / "params.yaml"), folder, "HEAD")
    return folder, read_manifest(folder)


def test_settings_are_those_of_the_revision(root: Path) -> None:
    committed = load(root / "params.yaml").retrieval
    set_retrieval(root, k=committed.k + 3)
    folder, manifest = publish(root)
    assert manifest.settings.retrieval == committed
    for path in fusion.folder(root).iterdir():
        assert (fusion.folder(folder) / path.name).read_bytes() == path.read_bytes()


def test_other_gates_are_fetched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gates_digest(root, "2" * 64)
    (root / "data/fusion/config.json").write_text("changed")

    def fetch(root: Path, rev: str, output: Path, target: Path) -> None:
        assert (rev, output) == ("HEAD", Path("data/fusion"))
        target.mkdir()
        (target / "config.json").write_text("of the revision")

    monkeypatch.setattr("autolora.publication.revision.fetch_output", fetch)
    folder, _ = publish(root)
    assert (fusion.folder(folder) / "config.json").read_text() == "of the revision"


@pytest.mark.slow
def test_gates_that_are_not_at_hand_are_an_error(root: Path) -> None:
    write_gates_digest(root, "2" * 64)
    with pytest.raises(MissingArtifact, match="DVC cannot fetch data/fusion of revision 'HEAD'"):
        publish(root)
    assert not (root.parent / "published").exists()


def test_a_revision_without_gates_gives_the_method_direct(root: Path) -> None:
    digest_path(root, "fusion").unlink()
    commit(root)
    write_gates_digest(root, "1" * 64)
    folder, manifest = publish(root)
    assert not fusion.folder(folder).exists() and manifest.settings.generation.method == "direct"


def test_settings_of_another_version_are_an_error(root: Path) -> None:
    current = (root / "params.yaml").read_text()
    set_retrieval(root, former=1)
    commit(root)
    (root / "params.yaml").write_text(current)
    with pytest.raises(ParamsError, match=r"settings of revision 'HEAD' \(params\.yaml: .*retrieval\.former"):
        publish(root)


def test_a_text_encoder_of_another_index_is_an_error(root: Path) -> None:
    content = yaml.safe_load((root / "params.yaml").read_text())
    other = shutil.copytree(content["models"]["pipeline"], root / "other")
    config = other / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": 1}))
    content["models"]["pipeline"] = str(other)
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    commit(root)
    with pytest.raises(MismatchError, match="built with text encoder"):
        publish(root)
