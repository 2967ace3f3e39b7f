"""The files that an operator installs: alarms of Prefect, and units of systemd. None is started here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import get_current_settings

from playground.repository import free_port, kill_tree
from tests.support.waiting import LIMIT_S, wait_for_server

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy").glob("*.service"))
HOME = "/srv/autolora"


def automations() -> dict[str, AutomationCore]:
    """Return the alarms as Prefect reads the file."""
    content = yaml.safe_load((ROOT / "prefect-alarms.yaml").read_text())
    return {row["name"]: AutomationCore.model_validate(row) for row in content["automations"]}


def test_the_alarms_can_be_created_as_they_are() -> None:
    names = ["refresh refused", "refresh failed", "refresh late", "no refresh", "refresh lost", "no release"]
    assert list(automations()) == names
    actions = {action.type for alarm in automations().values() for action in alarm.actions}
    assert actions == {"do-nothing", "change-flow-run-state"}


def test_a_refresh_is_lost_after_three_heartbeats_and_every_end_of_a_run_is_awaited() -> None:
    trigger = automations()["refresh lost"].trigger
    assert trigger.within.total_seconds() == 3 * (get_current_settings().flows.heartbeat_frequency or 0)
    ends = {"Completed", "Failed", "Refused", "Crashed", "Cancelled", "TimedOut"}
    assert {f"prefect.flow-run.{end}" for end in ends} < trigger.expect


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """The user and the programs are those of this machine, which has no installation."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("prefect", "autolora"):
        (programs / name).symlink_to("/bin/true")
    copies = [tmp_path / path.name for path in UNITS]
    for path, copy in zip(UNITS, copies, strict=True):
        copy.write_text(path.read_text().replace(HOME, str(tmp_path)).replace("User=autolora", "User=root"))
    command = ["systemd-analyze", "verify", "--man=no", *map(str, copies)]
    done = subprocess.run(command, capture_output=True, text=True)
    own = [line for line in (done.stdout + done.stderr).splitlines() if "autolora" in line]
    assert len(copies) == 3 and (done.returncode, own) == (0, [])


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_says_that_it_is_not_started_here(path: Path) -> None:
    assert "Not started by the project" in path.read_text().splitlines()[0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_confined(path: Path) -> None:
    """Without the directives, systemd rates each 9.0 of 10, UNSAFE."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-100:]


def settings_of(unit: str, name: str) -> list[str]:
    """Return the values of a directive of a unit."""
    lines = (ROOT / "deploy" / f"autolora-{unit}.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def test_the_page_has_no_token_of_a_hub_and_prefect_does_not_start_without_a_password() -> None:
    assert settings_of("serve", "EnvironmentFile") == ["-/etc/autolora/page.env"]
    assert settings_of("prefect", "EnvironmentFile") == ["/etc/autolora/prefect.env"]
    assert settings_of("worker", "EnvironmentFile")[0] == "/etc/autolora/prefect.env"
    assert settings_of("serve", "User") != settings_of("worker", "User")
    assert settings_of("serve", "ReadWritePaths") == [f"{HOME}/cache {HOME}/images"]


@pytest.mark.slow
def test_prefect_refuses_other_users_and_websites_and_runs_flows_with_the_password(tmp_path: Path) -> None:
    """The server as its unit starts it, and a flow run as of a refresh."""
    port, password = str(free_port()), "autolora:0123456789abcdef"
    unit = dict(value.split("=", 1) for value in settings_of("prefect", "Environment"))
    server = {name: value.replace("4200", port) for name, value in unit.items() if name != "HOME"}
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    (command,) = settings_of("prefect", "ExecStart")
    program = [sys.executable, "-m", *command.rpartition("/")[2].replace("4200", port).split()]
    process = subprocess.Popen(
        program,
        env=environment | server | {"PREFECT_SERVER_API_AUTH_STRING": password},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    flow = "import prefect\nprefect.flow(name='hello')(lambda: print('ran'))()"
    api = f"http://127.0.0.1:{port}/api"
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    origin = {"Origin": "https://evil.example"}

    def run_flow(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", flow],
            env=environment | {"PREFECT_API_URL": api} | variables,
            cwd=tmp_path,
            text=True,
            capture_output=True,
        )

    try:
        wait_for_server(int(port))
        with httpx2.Client(base_url=api, timeout=LIMIT_S) as client:
            assert client.options("/flows/", headers=asks).status_code == 400
            for headers in (origin, {}, origin | {"Content-Type": "text/plain"}):
                answer = client.post("/flows/", json={"name": "evil"}, headers=headers)
                assert answer.status_code == 401
                assert answer.headers.get("Access-Control-Allow-Origin") is None
            assert run_flow().returncode != 0
            done = run_flow(PREFECT_API_AUTH_STRING=password)
            assert done.stdout == "ran\n", done.stderr
            login = httpx2.BasicAuth(*password.split(":"))
            names = [row["name"] for row in client.post("/flows/filter", json={}, auth=login).json()]
            assert names == ["hello"]
    finally:
        kill_tree(process.pid)
