"""A small project with two releases, and its page on a free port of this machine."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from autolora.fusion import store as fusion
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.params import Params, load
from autolora.web import results
from autolora.web.routes import pages
from autolora.web.server import Address, listen, make_server
from playground.repository import IDENTITY
from tests.support import small_root
from tests.support.tiny_sentences import tiny_sentence_encoder
from tests.support.waiting import LIMIT_S

PARAMS = {
    "models": {"threads": 1},
    "pool": {"sketch_size": 8},
    "generation": {"width": 32, "height": 32, "steps": 3, "max_sequence_length": 8},
    "crawl": {"max_file_mb": 2},
    "refresh": {"stale_days": 7},
}
NSFW = "author1/neon"


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with releases of 8 and of 12 adapters, tagged; author1/neon is not safe for work."""
    root = tmp_path_factory.mktemp("served")
    base = small_root.base(root)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    for authors in (2, 3):
        small_root.build(root, base, authors, nsfw=[NSFW])
        release(root, content_digest(root))
        commit(root, f"release of {authors} authors")
        subprocess.run(["git", "tag", f"release/{authors}"], cwd=root, check=True)
    write_params(root)
    return root


def commit(root: Path, message: str) -> None:
    """Commit the digests and the catalog."""
    for command in (["add", "digests", "data/catalog"], ["commit", "-q", "-m", message]):
        subprocess.run(["git", *command], cwd=root, check=True, env=os.environ | IDENTITY)


def write_params(root: Path) -> None:
    """Write params.yaml with the values of the tests."""
    content = yaml.safe_load((small_root.REPOSITORY / "params.yaml").read_text())
    for section, values in PARAMS.items():
        content[section] |= values
    content["models"] |= dict.fromkeys(("pipeline", "vlm"), str(root / "flux"))
    (root / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="session", autouse=True)
def few_results() -> Iterator[None]:
    """Show 6 of the 12 adapters, so that there are more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "RESULTS", 6)
        patch.setattr(pages, "RESULTS", 6)
        yield


@contextmanager
def serving(root: Path, host: str = "127.0.0.1", token: str | None = None) -> Iterator[Address]:
    """Yield the address of the page of a project, which is stopped at the end."""
    params: Params = load(root / "params.yaml")
    address = listen(host, 0, {"AUTOLORA_TOKEN": token} if token else {})
    started = threading.Event()
    server = make_server(root, params, address, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.listener]})
    thread.start()
    try:
        assert started.wait(LIMIT_S)
        yield address
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def url(root: Path) -> Iterator[str]:
    """Return the address of the page."""
    with serving(root) as address:
        yield address.url


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx2.Client]:
    """Return a client of the page."""
    with httpx2.Client(base_url=url, timeout=LIMIT_S) as client:
        yield client


@pytest.fixture(scope="session")
def spoken_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with a language."""
    own = tmp_path_factory.mktemp("spoken") / "root"
    shutil.copytree(root, own, symlinks=True)
    sentences = tiny_sentence_encoder(own / "sentences", words=small_root.THEMES)
    small_root.teach_sentences(own, load(own / "params.yaml").models, sentences)
    release(own, content_digest(own))
    return own


@pytest.fixture(scope="session")
def spoken(spoken_root: Path) -> Iterator[httpx2.Client]:
    """Return a client of the page of the project with a language."""
    with serving(spoken_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        yield client


@pytest.fixture
def no_gates(root: Path) -> Iterator[None]:
    """Hide the trained gates from the page, so that images by the method `gated` fail."""
    hidden = fusion.folder(root).rename(root / "hidden")
    yield
    hidden.rename(fusion.folder(root))


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the project that a test may change."""
    shutil.copytree(root, tmp_path / "own", symlinks=True)
    return tmp_path / "own"
