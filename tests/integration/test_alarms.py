"""prefect-alarms.yaml on a real Prefect server: each alarm fires on what it is for, and tells its webhook."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from flows import stage
from playground.repository import ROOT
from tests.integration.prefect_api import flow_runs, post
from tests.support.waiting import wait_until

ALARMS = ROOT / "prefect-alarms.yaml"
WITHIN_S = 10
"""of the alarms on an absence, the least that Prefect allows"""
BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
text = {"text": "{{subject}}: {{body}}"}
print(Webhook(name="alarms", url=sys.argv[1], json_data=text).save("autolora", overwrite=True))
"""
REFRESH = """
import os, signal, time
from autolora.errors import HubError
from flows import stage

@stage.flow(name="refresh", flow_run_name="refresh of today")
def refresh():
    {body}

stage.run(refresh, guard=False)
"""


class Receiver(BaseHTTPRequestHandler):
    """Keeps the messages that are sent to a webhook."""

    messages: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.messages.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[str]]]:
    """URL of a webhook, and the messages that it has got."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", Receiver.messages
    server.shutdown()


def run(api: str, *arguments: str, check: bool = True) -> str:
    """Run this Python with a Prefect server; return its output."""
    environment = {**stage.os.environ, "PREFECT_API_URL": api, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=check)
    return done.stdout


def run_refresh(api: str, body: str) -> str:
    return run(api, "-c", REFRESH.format(body=body), check=False)


@pytest.fixture(scope="module")
def messages(
    prefect_api: str, told: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Create the alarms as docs/howto/nightly.md says, with short waits; return the messages to come."""
    block = run(prefect_api, "-c", BLOCK, told[0]).strip()
    text = ALARMS.read_text().replace("type: do-nothing", "type: send-notification").replace("BLOCK", block)
    path = tmp_path_factory.mktemp("alarms") / "alarms.yaml"
    path.write_text(re.sub(r"within: \d+", f"within: {WITHIN_S}", text))
    output = run(prefect_api, "-m", "prefect", "automation", "create", "--from-file", str(path))
    assert "Created 6 automation(s)" in output
    return told[1]


def wait_for(messages: list[str], alarm: str, text: str) -> str:
    """Return the message of an alarm that contains a text."""
    found: list[str] = []

    def is_told() -> bool:
        found[:] = [line for line in messages if line.startswith(f"AutoLoRA: {alarm}: ") and text in line]
        return bool(found)

    wait_until(is_told)
    return found[0]


def states(api: str) -> list[tuple[str, str]]:
    """Return type and name of the states of all runs named as a refresh."""
    runs = flow_runs(api, {"name": {"any_": ["refresh of today"]}})
    return [(run["state_type"], run["state"]["name"]) for run in runs]


def test_a_refused_refresh_has_a_state_of_its_own_and_an_alarm(prefect_api: str, messages: list[str]) -> None:
    output = run_refresh(prefect_api, "raise stage.PromotionRefused('17 of 20 files refused')")
    assert re.search(r"^stage=refresh day=\S+ seconds=\S+ digest=none outcome=refused$", output, re.MULTILINE)
    assert ("FAILED", "Refused") in states(prefect_api)
    message = wait_for(messages, "refresh refused", "17 of 20 files refused")
    assert "refresh of today" in message and "autolora status" in message
    assert not [line for line in messages if line.startswith("AutoLoRA: refresh failed: ")]


def test_a_failed_refresh_alarms_with_its_reason(prefect_api: str, messages: list[str]) -> None:
    assert "outcome=failed" in run_refresh(prefect_api, "raise HubError('hub x answered 503')")
    assert "HubError: hub x answered 503" in wait_for(messages, "refresh failed", "answered 503")


def test_a_killed_refresh_becomes_crashed_and_alarms(prefect_api: str, messages: list[str]) -> None:
    run_refresh(prefect_api, "time.sleep(3); os.kill(os.getpid(), signal.SIGKILL)")
    wait_for(messages, "refresh failed", "no heartbeat")
    assert ("CRASHED", "Crashed") in states(prefect_api)


def test_a_stage_that_fails_by_itself_is_no_failed_refresh(prefect_api: str, messages: list[str]) -> None:
    script = REFRESH.format(body="raise HubError('of a stage')").replace('"refresh"', '"pool"')
    run(prefect_api, "-c", script, check=False)
    run_refresh(prefect_api, "raise HubError('after it')")
    wait_for(messages, "refresh failed", "after it")
    assert not [line for line in messages if "of a stage" in line]


def test_a_run_that_does_not_start_alarms(prefect_api: str, messages: list[str]) -> None:
    flow = post(f"{prefect_api}/flows/", {"name": "refresh"})["id"]
    state: dict[str, str] = {"type": "SCHEDULED"}
    late = post(f"{prefect_api}/flow_runs/", {"flow_id": flow, "name": "refresh of tomorrow", "state": state})
    change = {"state": state | {"name": "Late"}, "force": True}
    post(f"{prefect_api}/flow_runs/{late['id']}/set_state", change)
    wait_for(messages, "refresh late", "refresh of tomorrow")


def test_no_release_alarms_with_the_reason(prefect_api: str, messages: list[str]) -> None:
    send = 'from prefect.events import emit_event; emit_event("autolora.stale", {"prefect.resource.id": "autolora.x"}, '
    run(prefect_api, "-c", send + 'payload={"message": "No release for 9 days: pinned"})')
    wait_for(messages, "no release", "No release for 9 days: pinned")


def test_no_refresh_at_all_alarms(prefect_api: str, messages: list[str]) -> None:
    wait_for(messages, "no refresh", "No refresh has ended")
