"""`autolora serve`: its output, its end, and addresses that cannot be used."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from autolora.errors import MissingArtifact
from autolora.extras import EXTRAS, LIBRARIES
from autolora.web.server import listen
from tests.support.waiting import LIMIT_S, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.core]

MODULE = ("-m", "autolora")


def start(
    root: Path, *options: str, program: Sequence[str] = MODULE, **environment: str
) -> subprocess.Popen[str]:
    """Start the command in a project, and return it. program: options of Python that run the command line."""
    (root / "dvc.yaml").touch()
    command = [sys.executable, *program, "serve", "--port", "0", *options]
    return subprocess.Popen(
        command,
        cwd=root,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_page_opens_and_ends_with_ctrl_c_without_a_traceback(own_root: Path) -> None:
    process = start(own_root)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("opening the index of ")
    address = process.stdout.readline().removeprefix("open ").split()[0]
    with urllib.request.urlopen(address, timeout=LIMIT_S) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in errors


def test_without_the_extra_pipeline_the_page_searches_and_says_what_else_needs_it(spoken_root: Path) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(LIBRARIES - EXTRAS['serve'])!r})); "
        "from autolora.__main__ import main; main()"
    )
    process = start(spoken_root, program=("-c", code))
    assert process.stdout is not None
    process.stdout.readline()
    address = process.stdout.readline().removeprefix("open ").split()[0]
    needed = r"needs \w+, which is not installed here: pip install 'autolora\[pipeline\]'"
    with httpx2.Client(base_url=address, timeout=LIMIT_S) as client:
        (hit,) = client.get("/api/search", params={"q": "a cat", "k": 1}).json()["adapters"]
        assert client.get(f"/parts/adapters/{hit['sha256']}").status_code == 200
        upload = client.post("/api/files", content=b"x")
        assert upload.status_code == 501 and re.search(needed, upload.json()["error"])
        image = client.post("/api/images", json={"prompt": "a cat"}).json()["id"]
        wait_until(lambda: client.get(f"/api/images/{image}").json()["state"] == "failed")
        assert re.search(needed, client.get(f"/api/images/{image}").json()["problem"])
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT_S)
    assert re.search(f"the images cannot be read: reading them {needed}", errors)
    assert "Traceback" not in errors


def test_a_token_of_the_environment_is_not_printed(own_root: Path) -> None:
    process = start(own_root, "--host", "0.0.0.0", AUTOLORA_TOKEN="of-the-environment")
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline().split()[1].endswith("/?token=$AUTOLORA_TOKEN")
    process.terminate()
    output, errors = process.communicate(timeout=LIMIT_S)
    assert "of-the-environment" not in output + errors


def test_a_token_is_no_argument_of_the_browser(own_root: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n')
    browser.chmod(0o755)
    process = start(own_root, "--host", "0.0.0.0", "--open", BROWSER=str(browser))
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert "?token=" in lines[1] and lines[2].startswith("not opened here")
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert not (tmp_path / "arguments").exists()


def test_an_address_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MissingArtifact, match=f"cannot listen on 127.0.0.1:{port} .*another --port"):
            listen("127.0.0.1", port, {})


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_is_not_of_this_machine_is_blamed_and_not_the_port(host: str) -> None:
    with pytest.raises(
        MissingArtifact, match=f"cannot listen on {host}:0 .*give as --host an address of this"
    ) as raised:
        listen(host, 0, {})
    assert "--port" not in str(raised.value)


def test_a_port_that_is_taken_is_reported_before_the_index_is_opened(own_root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        output, errors = start(own_root, "--port", str(other.getsockname()[1])).communicate(timeout=LIMIT_S)
    assert "cannot listen" in errors and "opening the index" not in output


def test_answers_on_a_kept_connection_do_not_wait() -> None:
    """Without TCP_NODELAY, each of them waits 40 ms for the browser's acknowledgement of the one before."""
    with listen("127.0.0.1", 0, {}).listener as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_numpy_is_imported_after_it_is_limited_to_one_thread(own_root: Path) -> None:
    (own_root / "dvc.yaml").touch()
    code = (
        "import builtins, os, sys\n"
        "load = builtins.__import__\n"
        "def record(name, *arguments, **options):\n"
        "  if name == 'numpy' and 'numpy' not in sys.modules:\n"
        "    print('threads', os.environ.get('OPENBLAS_NUM_THREADS'), flush=True); os._exit(0)\n"
        "  return load(name, *arguments, **options)\n"
        "builtins.__import__ = record\n"
        "from autolora.cli.serve import serve\n"
        "serve(port=0)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=own_root, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["threads 1"], done.stderr
