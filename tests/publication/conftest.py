"""A project whose adapters a hub on loopback offers, with its published index; and one with an encoder to publish."""

import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from autolora import models
from autolora.catalog import store as catalog
from autolora.encoder import store as encoders
from autolora.encoder.tags import TagTable
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.pool.store import weights_path
from autolora.publication.folder import write_publication
from playground.hubs.repos import Repo, describe, make_commit
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support import small_root
from tests.support.hf_client import serve_hub
from tests.support.published_encoder import ridge_encoder
from tests.support.synthetic_repo import make_adapters, write_dataset, write_repository
from tests.support.tiny_flux import save_pipeline
from tests.support.tiny_sentences import WordSums, plain_language

REPOSITORY = Path(__file__).parents[2]
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Site:
    """A repository, a hub that offers its adapters, and its index in a folder."""

    root: Path
    hub: Hub
    endpoint: str
    published: Path


def add_repo(hub: Hub, name: str, files: dict[str, Path]) -> None:
    """Add a repository to the hub."""
    commit = make_commit({path: describe(path, file) for path, file in files.items()}, DATE)
    hub.repos[name] = Repo(name, 1, DATE, 0, ("huggingface",), {}, DATE, [commit])


def list_on_hub(root: Path, hub: Hub, endpoint: str) -> None:
    """Make the catalog list the adapters where the hub offers them."""
    listings = []
    for listing in catalog.read_all(root):
        path = weights_path(root, listing.sha256 or "")
        add_repo(hub, listing.id, {"lora.safetensors": path})
        url = f"{endpoint}/{listing.id}/resolve/main/lora.safetensors"
        listings.append(replace(listing, url=url, size=path.stat().st_size))
    catalog.write(root, listings)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root, folder = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("hub")
    base = small_root.base(root)
    small_root.build(root, base)
    (folder / "schedule.jsonl").touch()
    hub = Hub(folder, day=1)
    with running(hub) as endpoint:
        list_on_hub(root, hub, endpoint)
        content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        content["models"]["pipeline"] = base.pipeline
        content["hubs"]["huggingface"]["endpoint"] = endpoint
        content["hubs"] |= {"folder": {"path": "/home/me/private"}, "attempts": 1}
        (root / "params.yaml").write_text(yaml.safe_dump(content))
        published = folder / "published"
        write_publication(root, load(root / "params.yaml"), published)
        yield Site(root, hub, endpoint, published)


@pytest.fixture
def cache(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the user's cache, and let the user have chosen the hub on loopback."""
    monkeypatch.setenv("HF_ENDPOINT", site.endpoint)
    monkeypatch.setattr("autolora.generation.collection.cache_folder", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache"


@pytest.fixture
def copy(site: Site, tmp_path: Path) -> Path:
    """Return a copy of the published index, which a test may damage."""
    return shutil.copytree(site.published, tmp_path / "copy")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a training lock, a trained encoder with tags and language, and a headline number."""
    root = tmp_path_factory.mktemp("project")
    write_repository(root, make_adapters(themes=("mosaic", "neon")))
    write_dataset(root)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] |= {"pipeline": str(save_pipeline(root / "flux")), "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    encoder = ridge_encoder(models.load_text_encoder(load(root / "params.yaml").models).digest)
    tags = TagTable(("cat", "dog"), np.eye(2, encoder.config.width, dtype=np.float32), np.array([1.0, 0.0]))
    encoders.save_encoder(encoders.folder(root), encoder, tags, plain_language(WordSums()))
    encoders.write_encoder_digest(root, encoder, {}, adapters=4, texts=16)
    row = Headline(name="retrieval.weights_theme_r_at_1_unseen", value=0.5, low=0.25, high=0.75, n=9)
    update(root, "a test", datetime.date(2026, 1, 2), [row])
    return root


@pytest.fixture
def root(project: Path, tmp_path: Path) -> Path:
    """Return a copy of the project, which a test may change."""
    return shutil.copytree(project, tmp_path / "project")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that the official client talks to."""
    with serve_hub(tmp_path, monkeypatch) as hub:
        yield hub
