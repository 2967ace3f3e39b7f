"""Planted troubles, each of which is named with its remedy; a healthy project has none."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

import autolora.doctor
from autolora import models
from autolora.cli import app
from autolora.clock import now, today
from autolora.doctor import Trouble, examine, machine, project, services
from autolora.params import Params, StorageParams, load
from autolora.planning import plan
from autolora.presets.encoder import ENCODER
from autolora.storage.git import running_git
from autolora.vlm import digest
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
USAGE = namedtuple("USAGE", "total used free")  # as shutil.disk_usage returns
MODELS = "playground/models"
MODEL_FILES = (
    f"{MODELS}/flux/model_index.json",
    f"{MODELS}/vlm/config.json",
    *(f"{MODELS}/judges/{name}/config.json" for name in ("clip", "vlm", "oracle")),
)


class Answers:
    """What a loopback server answers, path -> status, headers and body, and what it was asked."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[int, dict[str, str], Any]] = {}
        self.url = ""
        self.asked: list[tuple[str, str | None]] = []
        """path and credentials of each request"""


@pytest.fixture
def server() -> Iterator[Answers]:
    """Yield the answers of a server that is all services; of other paths they are 200 and empty."""
    with listening() as answers:
        answers.by_path["/api/admin/version"] = (401, {}, {})  # Prefect with a password
        yield answers


@contextmanager
def listening() -> Iterator[Answers]:
    """Yield the answers of a server on a port of its own."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append((self.path, self.headers["Authorization"]))
            status, headers, body = answers.by_path.get(self.path, (200, {}, {}))
            content = json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in ({"Date": format_datetime(now())} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield answers
        server.shutdown()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project of git and DVC and a remote of both, as a pipeline has them."""
    folder = tmp_path_factory.mktemp("doctor")
    root = folder / "project"
    for name in MODEL_FILES:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("{}")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "profiles", root / "profiles")
    (root / "flows").symlink_to(REPOSITORY / "flows")
    (folder / "remote").mkdir()
    for command in (
        "git init -q -b main",
        "git config branch.main.remote origin",
        "git config user.email a@example.org",
        "git init -q --bare ../git-remote",
        "git remote add origin ../git-remote",
        "git -c user.name=a commit -q --allow-empty -m first",
        "git push -q origin main",
        "dvc init -q",
        "dvc remote add -q -d store ../remote",
    ):
        subprocess.run(command.split(), cwd=root, check=True)
    (root / ".dvc/config").rename(folder / "dvc-config")
    return folder


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project, without DVC's remote, and no limit of time that a busy machine exceeds."""
    subprocess.run(["cp", "-a", f"{template}/.", tmp_path], check=True)
    for module, name in ((autolora.doctor, "LIMIT_S"), (project, "ANSWER_S"), (services, "ANSWER_S")):
        monkeypatch.setattr(module, name, 300.0)
    return tmp_path / "project"


@pytest.fixture
def remote(root: Path) -> Path:
    """Give the project its DVC remote, and return its folder."""
    shutil.copy(root.parent / "dvc-config", root / ".dvc/config")
    return root.parent / "remote"


@pytest.fixture
def params(root: Path, server: Answers, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Return params whose services are all the loopback server, with models of Hugging Face that are not here."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root.parent / "hub"))
    given = load(root / "params.yaml")
    models = replace(given.models, vlm="Qwen/Qwen2.5-VL-7B-Instruct", vlm_revision="c" * 40)
    hubs = replace(given.hubs, huggingface=replace(given.hubs.huggingface, endpoint=server.url))
    given = replace(
        given,
        models=models,
        hubs=hubs,
        crawl=replace(given.crawl, hubs=("huggingface",)),
        captions=replace(given.captions, engine="vllm"),
        vllm=replace(given.vllm, urls=(f"{server.url}/v1",)),
        encoder=replace(given.encoder, language="sentence-transformers/some", language_revision="d" * 40),
        dataset=replace(given.dataset, train_until=today()),
        refresh=replace(given.refresh, commit=True),
        evaluation=replace(given.evaluation, themes="profiles/themes.json"),
    )
    serve_models(server, digest(given.models))
    return given


def serve_models(server: Answers, *names: str) -> None:
    """Let the captioning server have these models."""
    entries = [{"id": name, "object": "model", "created": 1, "owned_by": "me"} for name in names]
    server.by_path["/v1/models"] = (
        200,
        {"Content-Type": "application/json"},
        {"object": "list", "data": entries},
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def found(root: Path, params: Params, **environment: str) -> Trouble:
    """Return the only trouble."""
    (trouble,) = troubles(root, params, **environment)
    return trouble


def troubles(root: Path, params: Params, **environment: str) -> list[Trouble]:
    """Return all troubles of an environment without the user's profile of Prefect."""
    return examine(root, params, {"PREFECT_HOME": str(root.parent)} | environment)


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True)


def test_a_healthy_project_has_none(root: Path, params: Params, server: Answers, remote: Path) -> None:
    prefect = {"PREFECT_API_URL": f"{server.url}/api", "PREFECT_API_AUTH_STRING": "me:secret"}
    assert troubles(root, params, HF_TOKEN="hf_x", **prefect) == []
    assert list(remote.rglob("*/")) and not list(remote.rglob("autolora-*")), "written, and removed"


def test_a_project_on_the_cpu_is_examined_without_torch_and_prefect(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from autolora.doctor import examine; from autolora.params import load; "
        "import flows.remote_objects; examine(Path(), load(Path('params.yaml')), {}); "
        "print({'torch', 'prefect'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_token_is_not_sent_along_with_a_redirect(
    root: Path, params: Params, server: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with listening() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        for path in ("/api/whoami-v2", AUTH):
            server.by_path[path] = (302, {"Location": f"{elsewhere}{path}"}, {})
        assert troubles(root, params, HF_TOKEN="hf_secret") == []
    assert ("/api/whoami-v2", "Bearer hf_secret") in server.asked
    assert sorted(other.asked) == [(AUTH, None), ("/api/whoami-v2", None)]


AUTH = "/api/models/sentence-transformers/some/auth-check"


@pytest.mark.parametrize(
    ("answer", "what", "remedy"),
    [
        ((403, {"X-Error-Code": "GatedRepo"}, {}), "asks to accept its license", "export HF_TOKEN"),
        ((404, {"X-Error-Code": "RepoNotFound"}, {}), "does not exist on Hugging Face", "check its name"),
        ((401, {}, {}), "does not exist on Hugging Face, or HF_TOKEN may not read it", "the token"),
    ],
    ids=["license", "name", "token"],
)
def test_models_that_cannot_be_downloaded(
    root: Path, params: Params, server: Answers, answer: Any, what: str, remedy: str
) -> None:
    server.by_path[AUTH] = answer
    trouble = found(root, params)
    assert what in trouble.what and "encoder.language" in trouble.what
    assert remedy in trouble.remedy and trouble.stops


def test_models_that_no_hub_offers_now(root: Path, params: Params, server: Answers) -> None:
    server.by_path[AUTH] = (500, {}, {})
    trouble = found(root, params)
    assert "Hugging Face does not answer" in trouble.what and "name a local folder" in trouble.remedy
    assert not trouble.stops, "it may answer when the model is needed"


def test_a_judge_that_cannot_be_downloaded_stops_no_release(
    root: Path, params: Params, server: Answers
) -> None:
    judges = replace(params.judges, clip="laion/some", clip_revision="e" * 40)
    server.by_path["/api/models/laion/some/auth-check"] = (403, {"X-Error-Code": "GatedRepo"}, {})
    trouble = found(root, replace(params, judges=judges))
    assert "judges.clip" in trouble.what and not trouble.stops


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("models", "pipeline"),
        ("models", "vlm"),
        ("judges", "clip"),
        ("judges", "vlm"),
        ("judges", "classifier"),
        ("encoder", "from_"),
        ("encoder", "language"),
    ],
)
@pytest.mark.parametrize("name", [f"{MODELS}/nope", "profiles"])
def test_a_folder_of_a_model_that_is_missing_or_another(
    root: Path, params: Params, section: str, field: str, name: str
) -> None:
    changed = replace(getattr(params, section), **{field: name})
    trouble = found(root, replace(params, **{section: changed}))
    assert trouble.what.startswith(f"{section}.{field.rstrip('_')} is {name}, which is neither the folder")
    assert "correct it in params.yaml" in trouble.remedy
    assert trouble.stops == (section in ("models", "encoder")), "others stop no release"


def test_an_id_without_a_revision(root: Path, params: Params) -> None:
    trouble = found(root, replace(params, encoder=replace(params.encoder, from_="me/encoder")))
    assert trouble.what.startswith("encoder.from is me/encoder, which is neither") and trouble.stops


def test_a_package_that_is_not_installed(root: Path, params: Params) -> None:
    encoder = replace(params.encoder, language="package:no_such", language_revision=None)
    trouble = found(root, replace(params, encoder=encoder))
    assert trouble.what.startswith(
        "encoder.language is package:no_such, but the package no_such is not installed"
    )
    assert "pip install no_such" in str(trouble) and trouble.stops


@pytest.mark.parametrize(
    ("text", "what"),
    [(None, ", by whose prompts releases are compared, is missing"), ("# none\n", " has no prompt")],
)
def test_a_missing_file_of_queries(root: Path, params: Params, text: str | None, what: str) -> None:
    path = root / "profiles/queries.txt"
    path.unlink() if text is None else path.write_text(text)
    trouble = found(root, params)
    assert trouble.what == f"profiles/queries.txt{what}"
    assert "per line" in trouble.remedy and trouble.stops


@pytest.mark.parametrize("text", ["no JSON", "no JSON\n", "{}\n", '{"train_until": "soon"}\n', "[1]\n"])
def test_a_damaged_training_lock(root: Path, params: Params, text: str) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data/training.jsonl").write_text(text)
    trouble = found(root, params)
    assert "the training lock, is damaged" in trouble.what and trouble.stops
    assert "git checkout HEAD -- data/training.jsonl" in trouble.remedy


def test_a_training_date_in_the_future(root: Path, params: Params) -> None:
    late = today() + timedelta(days=7)
    trouble = found(root, replace(params, dataset=replace(params.dataset, train_until=late)))
    assert f"dataset.train_until is {late}, in the future" in trouble.what and not trouble.stops
    assert f"set it to {today()}" in trouble.remedy


def test_a_check_that_fails_is_a_trouble_and_hides_no_other(
    root: Path, params: Params, server: Answers
) -> None:
    server.by_path["/v1/models"] = (200, {"Content-Type": "application/json"}, "a proxy")
    (root / "profiles" / "themes.json").unlink()
    both = troubles(root, params)
    assert [trouble.stops for trouble in both] == [True, False]
    assert "the check 'captioning servers' failed (" in both[1].what


def test_an_unknown_token(root: Path, params: Params, server: Answers) -> None:
    server.by_path["/api/whoami-v2"] = (401, {}, {})
    assert found(root, params, HF_TOKEN="hf_old").what == "Hugging Face does not know HF_TOKEN"


def test_a_hub_that_does_not_answer(root: Path, params: Params) -> None:
    lost = replace(params.hubs.huggingface, endpoint=f"http://127.0.0.1:{free_port()}")
    trouble = found(root, replace(params, hubs=replace(params.hubs, huggingface=lost)))
    assert "huggingface does not answer" in trouble.what and not trouble.stops


def test_a_clock_that_is_wrong(root: Path, params: Params, server: Answers) -> None:
    server.by_path[""] = server.by_path["/"] = (
        200,
        {"Date": format_datetime(now() - timedelta(hours=2))},
        {},
    )
    trouble = found(root, params)
    assert "this clock differs by 120 minutes" in trouble.what and "timedatectl" in trouble.remedy


def test_a_captioning_server_that_is_down(root: Path, params: Params) -> None:
    lost = replace(params.vllm, urls=(f"http://127.0.0.1:{free_port()}/v1",))
    trouble = found(root, replace(params, vllm=lost))
    assert "the vLLM server at" in trouble.what and "autolora vllm" in trouble.remedy and not trouble.stops


def test_a_captioning_server_with_another_model(root: Path, params: Params, server: Answers) -> None:
    serve_models(server, "llama")
    trouble = found(root, params)
    assert "has llama, not Qwen/Qwen2.5-VL-7B-Instruct@" in trouble.what and trouble.stops


def test_no_server_of_prefect(root: Path, params: Params) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    assert "no server of Prefect answers" in found(root, params, PREFECT_API_URL=url).what


def test_a_project_without_stages_needs_no_server_of_prefect(root: Path, params: Params) -> None:
    (root / "dvc.yaml").unlink()
    assert troubles(root, params, PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api") == []


def test_a_server_of_prefect_without_a_password(root: Path, params: Params, server: Answers) -> None:
    server.by_path["/api/admin/version"] = (200, {}, "3.0")
    trouble = found(root, params, PREFECT_API_URL=f"{server.url}/api", PREFECT_API_AUTH_STRING="me:secret")
    assert "answers without a password" in trouble.what and not trouble.stops
    assert "PREFECT_SERVER_API_AUTH_STRING" in trouble.remedy


def test_a_server_of_prefect_whose_password_is_not_set(root: Path, params: Params, server: Answers) -> None:
    trouble = found(root, params, PREFECT_API_URL=f"{server.url}/api")
    assert "asks for a password" in trouble.what and not trouble.stops, "a file of Prefect's may have it"
    assert "export PREFECT_API_AUTH_STRING" in trouble.remedy


def test_a_server_of_prefect_that_the_profile_names(root: Path, params: Params, server: Answers) -> None:
    profile = root.parent / "profiles.toml"
    lines = ['active = "own"', "[profiles.own]", f'PREFECT_API_URL = "{server.url}/api"']
    profile.write_text("\n".join(lines))
    assert "asks for a password" in found(root, params).what
    profile.write_text("\n".join([*lines, 'PREFECT_API_AUTH_STRING = "me:secret"']))
    assert troubles(root, params) == []
    profile.write_text("damaged")
    assert troubles(root, params) == []


def test_the_password_of_prefect_may_stand_in_the_project(
    root: Path, params: Params, server: Answers
) -> None:
    quoted = f'export PREFECT_API_URL="{server.url}/api"\n'
    (root / ".env").write_text(f"# of Prefect\n{quoted}PREFECT_API_AUTH_STRING=me:secret\n")
    assert troubles(root, params) == [] and server.asked.count(("/api/admin/version", None)) == 1


def test_a_cluster_of_ray_that_does_not_answer(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = replace(params, operation=replace(params.operation, engine="ray"))
    address = f"127.0.0.1:{free_port()}"
    find, installed = importlib.util.find_spec, importlib.util.find_spec("json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed if name == "ray" else find(name))
    trouble = found(root, params, RAY_ADDRESS=address)
    assert f"RAY_ADDRESS ({address})" in trouble.what and "ray start --head" in trouble.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    assert "pip install 'autolora[ray]'" in found(root, params).remedy


def test_a_quantized_base_model_without_a_gpu(root: Path, params: Params) -> None:
    trouble = found(root, replace(params, models=replace(params.models, memory="8bit")))
    assert "diffusers quantizes on a GPU only" in trouble.what and not trouble.stops
    assert trouble.remedy == "set models.memory to null"


def test_more_processes_than_gpus(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    models = replace(params.models, device="cuda")
    params = replace(params, models=models, operation=replace(params.operation, processes=4))
    assert re.search(r"operation\.processes is 4 .* torch finds 2 GPUs$", found(root, params).what)


@pytest.mark.parametrize(
    ("cuda", "driver", "remedy"),
    [
        (None, None, "without CUDA"),
        ("13.0", None, "no NVIDIA driver"),
        ("13.0", "535.1", "the driver is 535.1"),
    ],
)
def test_a_gpu_that_torch_does_not_find(
    root: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None,
    driver: str | None,
    remedy: str,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models, "ask_cards", lambda what: [driver] if driver else [])
    trouble = found(root, replace(params, models=replace(params.models, device="cuda")))
    assert "torch finds no GPU" in trouble.what and remedy in trouble.remedy and trouble.stops


def test_a_transformer_that_does_not_fit(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "encoder_lack", lambda *_: "encoder needs 294 GB of memory, but")
    encoder = replace(params.encoder, variant=ENCODER["paper"])
    trouble = found(root, replace(params, encoder=encoder))
    assert trouble.what.startswith("encoder needs") and trouble.stops
    assert trouble.remedy.startswith("lower encoder.overrides.batch")


def test_a_full_disk(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: USAGE(100, 99, 1))
    trouble = found(root, params)
    assert "has 0 GB free" in trouble.what and "free some" in trouble.remedy and trouble.stops


def test_a_folder_that_cannot_be_written(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_is_writable", lambda folder: folder != root)
    assert found(root, params).what == f"{root} cannot be written (the project)"


def test_a_training_date_before_the_first_adapter(root: Path, params: Params) -> None:
    early = replace(params, dataset=replace(params.dataset, train_until=date(2026, 1, 5)))
    trouble = found(root, early)
    assert "nothing can be trained on" in trouble.what and f"set it to {today()}" in trouble.remedy
    published = replace(early.encoder, from_=str(root / MODELS / "vlm"))
    assert troubles(root, replace(early, encoder=published)) == []


def test_a_missing_file_of_judgments(root: Path, params: Params) -> None:
    (root / "profiles" / "themes.json").unlink()
    assert found(root, params).what == "evaluation.themes, profiles/themes.json, is not a file"


def test_a_folder_that_is_not_mounted(root: Path, params: Params) -> None:
    crawl = replace(params.crawl, hubs=("folder",))
    hubs = replace(params.hubs, folder=replace(params.hubs.folder, path="/mnt/gone"))
    assert (
        found(root, replace(params, crawl=crawl, hubs=hubs)).what
        == "hubs.folder.path, /mnt/gone, is not a folder"
    )


def test_git_without_a_name(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "config", "--unset", "user.email")
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    monkeypatch.delenv("GIT_AUTHOR_EMAIL", raising=False)
    assert found(root, params, **nobody).what == "git does not know who commits"


def test_a_detached_head(root: Path, params: Params) -> None:
    git(root, "checkout", "-q", "--detach")
    trouble = found(root, params)
    assert "HEAD of git is detached" in trouble.what and "git switch" in trouble.remedy and not trouble.stops
    assert troubles(root, replace(params, refresh=replace(params.refresh, commit=False))) == []


def test_a_lock_that_a_git_command_holds(root: Path, params: Params) -> None:
    lock = root / ".git/index.lock"
    lock.touch()
    reader = subprocess.Popen(["git", "hash-object", "--stdin"], cwd=root, stdin=subprocess.PIPE)
    try:
        wait_until(lambda: running_git(root) == reader.pid)
        assert troubles(root, params) == [], "of a command that ends at once"
        os.utime(lock, (0, 0))
        trouble = found(root, params)
    finally:
        reader.kill()
        reader.communicate()
    assert f"(process {reader.pid}) holds .git/index.lock" in trouble.what and trouble.stops
    assert f"kill {reader.pid}" in trouble.remedy
    assert troubles(root, params) == [], "a refresh removes what no process holds"


def test_a_git_remote_that_is_gone(root: Path, params: Params) -> None:
    shutil.rmtree(root.parent / "git-remote")
    assert "cannot be pushed to the git remote origin" in found(root, params).what


def test_a_git_remote_that_is_ahead(root: Path, params: Params) -> None:
    git(root.parent, "clone", "-q", "-b", "main", "git-remote", "other")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    git(root.parent / "other", *who, "commit", "-q", "--allow-empty", "-m", "ahead")
    git(root.parent / "other", "push", "-q", "origin", "main")
    assert "cannot be pushed to the git remote origin" in found(root, params).what


def test_a_dvc_remote_that_takes_nothing(root: Path, params: Params, remote: Path) -> None:
    remote.rmdir()
    remote.write_text("a file")
    trouble = found(root, params)
    assert "DVC's remote takes no file" in trouble.what and "dvc remote list" in trouble.remedy


def test_a_dvc_remote_that_does_not_answer(
    root: Path, params: Params, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = (root / ".dvc/config").read_text()
        (root / ".dvc/config").write_text(config.replace("../../remote", url))
        trouble = found(root, params)
    assert trouble.what == "DVC's remote did not answer within 0.1 s" and "dvc remote list" in trouble.remedy


def test_no_remote_is_asked_if_there_is_none(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "ANSWER_S", 0.0)
    (root / ".dvc/config").write_text("")
    params = replace(params, refresh=replace(params.refresh, commit=False))
    assert troubles(root, params) == [], "however long it takes to find that out"


def test_nothing_can_be_evicted_without_a_remote(root: Path, params: Params) -> None:
    kept = replace(params, storage=StorageParams(keep_local_gb=1.5))
    (root / ".dvc/config").write_text("")
    assert "keep_local_gb is 1.5, but DVC has no default remote" in found(root, kept).what


def test_batches_that_are_not_here_though_nothing_is_evicted(
    root: Path, params: Params, remote: Path
) -> None:
    folder = root / "data/pool/batches"
    folder.mkdir(parents=True)
    (folder / "2026-01-05.dvc").write_text("outs:\n- md5: x.dir\n  path: 2026-01-05\n")
    trouble = found(root, params)
    assert "1 batch of the pool, e.g. 2026-01-05" in trouble.what and "dvc pull" in trouble.remedy


def test_a_remote_that_has_been_pushed_to_and_is_not_there(root: Path, params: Params, remote: Path) -> None:
    remote.rmdir()
    url = subprocess.run(
        ["dvc", "config", "remote.store.url"], cwd=root, capture_output=True, text=True
    ).stdout
    (root / "cache").mkdir(exist_ok=True)
    (root / "cache/pushed.json").write_text(json.dumps({"url": url.strip(), "targets": {"a.dvc": "0" * 32}}))
    assert "is not there: is it mounted?" in found(root, params).what
    assert not remote.exists()


def test_nothing_is_evicted_that_is_not_committed(root: Path, params: Params, remote: Path) -> None:
    kept = replace(
        params, storage=StorageParams(keep_local_gb=1.5), refresh=replace(params.refresh, commit=False)
    )
    assert "keep_local_gb is 1.5, but refresh.commit is false" in found(root, kept).what


def test_a_library_that_is_not_installed(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "LIBRARIES", frozenset({"torch", "no_such_library"}))
    trouble = found(root, params)
    assert trouble.what == "not installed: no_such_library" and "autolora[pipeline]" in trouble.remedy


def test_a_check_that_takes_too_long(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autolora.doctor, "LIMIT_S", 0.0)
    late = troubles(root, params)
    assert late and all("had no result after 0 s" in trouble.what for trouble in late)


def test_the_command(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "profiles" / "themes.json").unlink()
    path = root / "params.yaml"
    path.write_text(
        path.read_text().replace("themes: playground/themes.json", "themes: profiles/themes.json")
    )
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "stops a refresh: evaluation.themes, profiles/themes.json, is not a file\n" in result.stdout
    rows = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert {"what", "remedy", "stops"} == set(rows[0])
