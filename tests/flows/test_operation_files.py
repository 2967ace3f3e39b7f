"""The files that an operator installs: alarms of Prefect, and units of systemd. None is started here."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import get_current_settings

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
