"""Fault injection into the playground's hub: which requests fail, invalid orders, and the table of faults."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS
from tests.playground.conftest import FaultyHub

ROOT = Path(__file__).parents[2]


def test_fault_applies_after_some_requests_for_a_number_of_times(faulty: FaultyHub) -> None:
    faulty.fail("500", hub="civitai", kind="listing", after=1, times=2)
    faulty.fail("404", path="no/such")
    assert [faulty.list_page("civitai").status_code for _ in range(4)] == [200, 500, 500, 200]
    assert {faulty.list_page(hub).status_code for hub in HUBS} == {200}


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "unknown"},
        {"fault": "500", "hub": "github"},
        {"fault": "500", "kind": "weight"},
        {"fault": "500", "times": "often"},
        {"fault": "null-fields", "entry": "no/body"},
        {"fault": "status"},
        {"kind": "listing"},
        {"body": "unknown"},
    ],
    ids=str,
)
def test_invalid_order_is_refused(faulty: FaultyHub, order: dict[str, Any]) -> None:
    assert faulty.client.post("/_playground", json={"fail": order}).status_code == 400
    assert {faulty.list_page(hub).status_code for hub in HUBS} == {200}


def test_list_faults_prints_every_fault_and_readme_documents_it() -> None:
    command = [sys.executable, "-m", "playground.hub", "--list-faults"]
    printed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert [line.split()[0] for line in printed.splitlines()] == list(FAULTS)
    readme = (ROOT / "playground/README.md").read_text()
    assert [name for name in FAULTS if f"`{name}`" not in readme] == []
