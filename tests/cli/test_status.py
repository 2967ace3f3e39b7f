"""`autolora status`: what it says, and its exit code."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autolora.catalog import failed_items
from autolora.catalog import store as catalog
from autolora.catalog.failed_items import FailedItem
from autolora.cli import app
from autolora.index.store import SCHEMA
from autolora.params import load
from autolora.pool.batches import batches_folder
from autolora.refresh.last_refresh import record_failure, record_release, record_start, record_success
from autolora.refresh.record import RefreshRecord, write_refresh
from autolora.releases.checks import Check, Decision, record
from autolora.releases.pin import Pin, write_pin
from autolora.report.values import report_values
from autolora.storage.files import write_atomic
from autolora.storage.incremental import write_digest
from autolora.storage.lock import exclusive_lock
from playground.repository import change_params
from tests.support.report_root import make_listing
from tests.test_core import imported

ROOT = Path(__file__).parents[2]
DAY, NIGHT = date(2026, 11, 27), datetime(2026, 11, 27, 2, tzinfo=UTC)
INDEX = "a" * 64


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a project that no refresh has changed."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of the command, with its lines joined."""
    result = CliRunner().invoke(app, ["status", *arguments])
    return result.exit_code, result.stdout if arguments else " ".join(result.stdout.split())


def run_json() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run("--json")[1])
    return content


def test_without_a_refresh_nothing_has_failed(root: Path) -> None:
    code, text = run()
    assert code == 0 and "last refresh none is recorded here" in text and "running no" in text
    assert "served index none is released" in text and "failed items 0" in text
    assert run_json()["index"] is None


def test_a_success_names_the_index_and_what_came(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(NIGHT.timestamp())))
    write_atomic(root / "cache/served", f"{INDEX}\n")
    record_start(root, NIGHT)
    record_release(root, NIGHT)
    record_success(root, NIGHT)
    brought = RefreshRecord.of(DAY, INDEX, 7, [], [])
    write_refresh(root, replace(brought, counts={"accepted": 3, "refused": 1}))
    code, text = run()
    assert code == 0 and "last refresh succeeded last success 2026-11-27, 02:00 UTC" in text
    assert "last changes 2026-11-27: 3 accepted, 1 refused" in text
    assert f"served index {INDEX[:12]} of 2026-11-27 (" in text
    assert run_json()["last_changes"] == {"day": "2026-11-27", "counts": {"accepted": 3, "refused": 1}}


def test_a_failure_has_its_reason_a_remedy_and_exit_code_1(root: Path) -> None:
    record_start(root, NIGHT)
    record_failure(root, NIGHT, "crawl: HubError: hub \x1b[31mcivitai is down")
    code, text = run()
    assert code == 1 and "\x1b" not in text
    assert "failed: crawl: HubError: hub �[31mcivitai is down. what to do" in text
    assert "run `autolora refresh`" in text and "in a row 1 failure" in text
    assert run("--json")[0] == 1 and run_json()["last_refresh"]["failures"] == 1


def test_a_killed_refresh_is_a_failure_and_a_running_one_is_not(root: Path) -> None:
    with exclusive_lock(root):
        record_start(root, NIGHT)
        code, text = run()
    assert code == 0 and "running since 2026-11-27, 02:00 UTC" in text
    code, text = run()
    assert code == 1 and "did not finish" in text and "running no" in text


def test_a_refused_refresh_says_why_and_has_exit_code_1(root: Path) -> None:
    refuse(root, DAY)
    code, text = run()
    assert code == 1 and "last refresh The gate refused the new index of the refresh of 2026-11-27" in text
    assert "gate refused on 2026-11-27, 0 of 1 check met adapters is 3, but must be 4" in text
    assert "autolora versions promote --reason WHY" in text
    (unmet,) = run_json()["release"]["gate"]["unmet"]
    assert (unmet["name"], unmet["value"], unmet["rule"], unmet["nights"]) == ("adapters", 3, "4", [])


def test_an_index_of_a_day_after_the_simulated_one_is_not_days_ago(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(root / "cache/served", f"{INDEX}\n")
    record_start(root, NIGHT)
    record_release(root, NIGHT)
    record_success(root, NIGHT)
    for days, text in ((-300, "of 2026-11-27, its copy"), (1, "of 2026-11-27 (1 day ago), its copy")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((NIGHT + timedelta(days=days)).timestamp())))
        assert text in run()[1]


def test_the_demo_whose_days_are_simulated_raises_no_alarm(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With params.yaml as shipped, `make demo` releases on days of January, whatever day it is."""
    write_atomic(root / "cache/served", f"{INDEX}\n")
    record_start(root, NIGHT)
    record_release(root, NIGHT)
    record_success(root, NIGHT)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((NIGHT + timedelta(days=329)).timestamp())))
    code, text = run()
    assert code == 0 and "No release" not in text


def test_no_release_for_days_has_exit_code_1(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_params(root / "params.yaml", {"refresh": {"stale_days": 7}})
    write_atomic(root / "cache/served", f"{INDEX}\n")
    record_start(root, NIGHT)
    record_release(root, NIGHT)
    record_success(root, NIGHT)
    for days, expected in ((6, 0), (7, 1)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((NIGHT + timedelta(days=days)).timestamp())))
        code, text = run()
        assert (
            code == expected and ("no release No release for 7 days, since 2026-11-27: " in text) == expected
        )
    write_pin(root, Pin(release="release/x", day="2026-11-27", reason="too many cats"))
    assert "release/x is pinned since 2026-11-27 (too many cats)" in run()[1]
    assert run_json()["release"]["pin"]["reason"] == "too many cats"


def refuse(root: Path, day: date) -> None:
    """Record that the gate has refused the working index."""
    write_digest(root, "index", {}, SCHEMA, content="b" * 64)
    check = Check(name="adapters", value=3, rule="4", passed=False)
    record(root, Decision(day=day, index="b" * 64, former=INDEX, verdict="refused", checks=(check,)))
    record_start(root, NIGHT)
    record_failure(root, NIGHT, "PromotionRefused: the gate refused index bbb", is_refused=True)


def test_items_that_wait_are_counted(root: Path) -> None:
    listings = [make_listing(number, f"{number:064x}", []) for number in range(4)]
    queued = [replace(listing, status="queued") for listing in listings[:3]]
    catalog.write(root, [*queued, listings[3]])
    item = FailedItem(
        stage="pool", key=queued[0].key, hub="h", id="7", name="x", reason="timeout", last_attempt=DAY
    )
    failed_items.record(root, "pool", [item], {item.key}, DAY)
    text = run()[1]
    assert "failed items 1, next attempt on 2026-11-28" in text
    assert "queued 3 files for a later night" in text


def test_batches_that_lie_in_the_remote_only_are_counted(root: Path) -> None:
    assert "batches" not in run()[1] and run_json()["storage"] is None
    change_params(root / "params.yaml", {"storage": {"keep_local_gb": 1.5}})
    folder = batches_folder(root)
    (folder / "2026-01-05").mkdir(parents=True)
    for name, size in (("2026-01-05", 10**9), ("2026-01-06", 3 * 10**9), ("2026-01-06-2", 10**9)):
        (folder / f"{name}.dvc").write_text(f"outs:\n- md5: x.dir\n  size: {size}\n  path: {name}\n")
    phrase = "1 GB here (storage.keep_local_gb: 1.5), 4 GB in DVC's remote only (2 of 3 batches)"
    assert f"batches {phrase}" in run()[1]
    assert run_json()["storage"]["gb_evicted"] == 4
    assert report_values(root, load(root / "params.yaml"))["batches"] == phrase
    for damaged in ("", "outs:", "outs:\n- md5"):  # by a DVC that was killed
        (folder / "2026-01-06-2.dvc").write_text(damaged)
        assert run_json()["storage"]["gb_evicted"] == 3


@pytest.mark.slow
def test_neither_torch_nor_the_tools_of_the_pipeline_are_imported(root: Path) -> None:
    write_atomic(root / "cache/served", f"{INDEX}\n")
    code = "import autolora.cli as cli, sys\nsys.argv = ['autolora', 'status', '--json']\n"
    code += "import atexit, io\nsys.stdout, out = io.StringIO(), sys.stdout\n"
    code += "try: cli.app()\nexcept SystemExit: sys.stdout = out"
    assert imported(code, ("torch", "prefect", "dvc", "lancedb", "PIL", "transformers")) == []
