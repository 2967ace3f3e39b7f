"""Bad input, from the command line: what it says, its exit code, and that nothing is lost or half-written.

Every message is quoted in docs/howto/errors.md, with `…` for what varies; `said` compares.
"""

import fcntl
import re
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import torch
from PIL import Image

from autolora import models
from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion.install import fused
from autolora.lora.factors import Factors
from autolora.params import load
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing
from autolora.slots import slots
from autolora.storage.files import write_rows
from tests.support.repository import ROOT, Repository, change_params, copy_tree, free_port

DOCUMENTED = re.findall(r"^    (\w+: .*)$", (ROOT / "docs/howto/errors.md").read_text(), flags=re.MULTILINE)


@pytest.fixture
def bare(tmp_path: Path, prefect_api: str) -> Iterator[Repository]:
    """A repository in which no stage has run and no server answers."""
    root = tmp_path / "bare"
    copy_tree(root)
    endpoint = f"http://127.0.0.1:{free_port()}"
    change_params(root / "params.yaml", {"hubs": {"huggingface": {"endpoint": endpoint}, "attempts": 1}})
    repository = Repository(root, endpoint, prefect_api)
    repository.run("git", "init", "-q")
    repository.commit("the tree")
    yield repository
    shutil.rmtree(root)


def said(repository: Repository, *command: str) -> str:
    """Run a command that must fail, and return the documented messages that it printed."""
    done = repository.run(*command, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found = [line for line in DOCUMENTED if re.search(f"^{pattern(line)}$", done.stderr, flags=re.M | re.S)]
    assert found, f"not in docs/howto/errors.md:\n{done.stderr}"
    return "\n".join(found)


def pattern(message: str) -> str:
    """Return the regular expression of a documented message."""
    return re.escape(message).replace("…", ".*")


def test_a_corrupt_params_file(bare: Repository) -> None:
    path = bare.root / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("max_renderings", "max_rendering"))
    assert "unknown key" in said(bare, "autolora", "search", "a cat")
    path.write_text(text + "\n  - broken: [")
    assert "is not YAML" in said(bare, "python", "-m", "flows.crawl")


def test_a_query_before_there_is_an_index(bare: Repository) -> None:
    before = bare.files()
    assert "run `dvc repro index`" in said(bare, "autolora", "search", "a cat")
    assert bare.files() == before


def test_a_query_in_a_clone_without_data(bare: Repository) -> None:
    (bare.root / "digests").mkdir()
    shutil.copy(ROOT / "digests/index.json", bare.root / "digests")
    assert "there is no index here yet" in said(bare, "autolora", "search", "a cat")
    bare.commit("digests without data")
    assert "DVC cannot fetch" in said(bare, "autolora", "search", "a cat", "--rev", "HEAD")


def test_a_revision_that_git_does_not_know(bare: Repository) -> None:
    assert "has no revision" in said(bare, "autolora", "search", "a cat", "--rev", "v9")
    assert "has no digests/index.json" in said(bare, "autolora", "search", "a cat", "--rev", "HEAD")


def test_a_hub_that_does_not_answer(bare: Repository) -> None:
    put_one_rendering(bare.root, bare.endpoint)
    shutil.rmtree(bare.root / "data/pool")
    before = bare.files()
    assert "cannot be reached" in said(bare, "python", "-m", "flows.crawl")
    assert "not in the pool" in said(bare, "python", "-m", "flows.pool")
    after = bare.files()
    assert {name: after[name] for name in before} == before


def test_a_refresh_that_fails_serves_what_it_served(bare: Repository) -> None:
    assert "`dvc repro --force --single-item crawl` failed" in said(bare, "python", "-m", "flows.refresh")
    assert not (bare.root / "cache/served").exists()


def test_generating_before_there_are_gates(bare: Repository) -> None:
    assert "run `dvc repro index`" in said(bare, "autolora", "generate", "a cat")
    assert not (bare.root / "images").exists()


def test_an_adapter_that_is_not_in_the_pool(bare: Repository) -> None:
    put_one_rendering(bare.root, bare.endpoint)
    assert "no adapter" in said(bare, "autolora", "show", "nobody/nothing")


def test_a_captioning_server_that_is_down(bare: Repository) -> None:
    server = {"url": f"http://127.0.0.1:{free_port()}/v1"}
    change_params(bare.root / "params.yaml", {"captions": {"engine": "vllm"}, "vllm": server})
    put_one_rendering(bare.root, bare.endpoint)
    before = bare.files()
    assert "no vLLM server answers" in said(bare, "python", "-m", "flows.captions")
    assert bare.files() == before


@pytest.mark.parametrize(
    ("name", "d_in"), [("transformer_blocks.9.attn.to_q", 128), ("transformer_blocks.0.attn.to_q", 64)]
)
def test_an_adapter_for_another_base(name: str, d_in: int) -> None:
    lora = {name: Factors(torch.ones(1, d_in), torch.ones(128, 1), 1.0)}
    transformer = models.load_transformer(load(ROOT / "params.yaml").models)
    with pytest.raises(MismatchError) as caught, fused(transformer, [lora]):
        pass
    message = f"MismatchError: {caught.value}"
    assert any(re.fullmatch(pattern(line), message) for line in DOCUMENTED)


def test_a_damaged_row_of_the_pool(bare: Repository) -> None:
    put_one_rendering(bare.root, bare.endpoint)
    path = bare.root / "data/pool/adapters.jsonl"
    path.write_text("{broken\n" + path.read_text())
    assert "is not JSON" in said(bare, "autolora", "show", "a/b")


def test_two_refreshes_at_once(bare: Repository) -> None:
    lock = bare.root / "cache/refresh.lock"
    lock.parent.mkdir()
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "another refresh is at work" in said(bare, "python", "-m", "flows.refresh")


def test_a_damaged_weights_file(tmp_path: Path) -> None:
    path = pool.weights_path(tmp_path, "3" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    params = load(ROOT / "params.yaml")
    with pytest.raises(MissingArtifact) as caught:
        load_lora(tmp_path, "3" * 64, slots(models.transformer_config(params.models)), params.pool)
    assert any(re.fullmatch(pattern(line), f"MissingArtifact: {caught.value}") for line in DOCUMENTED)


def put_one_rendering(root: Path, endpoint: str) -> None:
    """Fabricate a catalog and a pool that hold one accepted adapter with one rendering."""
    image, weights = "1" * 64, "2" * 64
    rendering = ListedRendering(url=f"{endpoint}/1.png", sha256=image, prompt=None)
    listing = Listing(
        hub="huggingface", id="a/b", version="c", file="b.safetensors", url=f"{endpoint}/b", size=1,
        sha256=weights, license=None, base_model=None, nsfw=False, trigger_words=(), renderings=(rendering,),
        first_seen=date(2026, 1, 5),
    )  # fmt: skip
    adapter = Adapter(
        key=weights, sha256=weights, size=1, recipe="r", verdict=ACCEPTED, reason="", layout="peft", num_slots=1,
        rank_max=1, norm=1.0, dtype="BF16", keys_used=2, keys_seen=2, set_aside=(),
    )  # fmt: skip
    write_rows(root / "data/catalog.jsonl", [listing.to_row()])
    write_rows(root / "data/pool/adapters.jsonl", [adapter.to_row()])
    write_rows(
        root / "data/pool/renderings.jsonl", [{"key": image, "sha256": image, "width": 64, "height": 64}]
    )
    path = pool.rendering_path(root, image)
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(path)
