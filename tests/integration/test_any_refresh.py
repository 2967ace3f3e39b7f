"""Any later refresh, with a hub that fails, and one that the schedule of docs/howto/nightly.md starts."""

import random
import re
import textwrap
from datetime import date, timedelta
from pathlib import Path

import pytest

from playground.repository import Repository, free_port
from tests.integration.consistency import assert_consistent


@pytest.fixture(scope="module")
def complete(repository: Repository) -> Repository:
    """The repository after a second refresh: images that could not be downloaded on the first day are there."""
    repository.hub({"day": 2})
    repository.refresh(day=2)
    return repository


def test_nightly_howto_sets_up_a_schedule_that_runs(complete: Repository, tmp_path: Path) -> None:
    """Run the first commands of docs/howto/nightly.md on a free port, with one run of the deployment."""
    repository = complete
    port = str(free_port())
    api = f"http://127.0.0.1:{port}/api"
    block = re.search(r"(?:^    .+\n)+", (repository.root / "docs/howto/nightly.md").read_text(), re.M)
    assert block is not None
    *setup, worker = textwrap.dedent(block[0]).replace("http://127.0.0.1:4200/api", api).splitlines()
    run_once = ["prefect deployment run refresh/nightly", f"{worker} --run-once"]
    check = ["prefect flow-run ls --flow-name refresh --state COMPLETED", "prefect artifact ls"]
    script = "\n".join(["trap 'kill $(jobs -p)' EXIT", *setup, *run_once, *check])
    environment = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_API_PORT": port, "COLUMNS": "200"}
    output = repository.run("bash", "-euc", script, day=3, **environment).stdout
    runs, artifacts = output[output.rindex("Flow Runs") :].split("Artifacts", 1)
    assert "refresh 2026-01-07" in runs
    assert "refresh" in artifacts


@pytest.mark.long(full=30, sample=1)
def test_any_refresh_ends_consistent(complete: Repository, seed: int) -> None:
    """One more LoRA per day, some withdrawn or relicensed, and a hub that fails; a refresh builds on the last.

    On every other day all downloads of weights fail: new files are deferred, and arrive on the next day.
    """
    repository, rng, day = complete, random.Random(seed), 5 + seed
    gone, relicensed = rng.sample([row["id"] for row in repository.listing()], 2)
    repository.hub({"heal": True})
    repository.hub({"day": day})
    repository.hub({"license": [relicensed, rng.choice(("mit", "cc0-1.0", "apache-2.0"))]})
    if rng.random() < 0.5:
        repository.hub({"withdraw": gone})
    for kind in rng.sample(("listing", "weights", "renderings"), 2):
        repository.hub({"fail": {"kind": kind, "status": rng.choice((429, 500, 503))}})
    lasting = seed % 2 == 0
    if lasting:
        repository.hub({"fail": {"kind": "weights", "status": 404, "times": 10**6}})
    output = repository.refresh(day=day)
    new = {row["id"] for row in repository.listing() if row["first_seen"] == today(day)}
    waiting = {row["id"] for row in repository.listing() if row["status"] == "queued"}
    assert waiting == (new if lasting else set())
    assert all(id in output for id in waiting)
    assert_consistent(repository)


def today(day: int) -> str:
    """Return the date of a day."""
    return (date(2026, 1, 4) + timedelta(days=day)).isoformat()
