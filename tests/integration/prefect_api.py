"""What a Prefect server reports about runs of flows."""

import json
import urllib.request
from typing import Any

from tests.support.waiting import LIMIT_S


def flow_runs(api: str, criteria: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the flow runs of a Prefect server that meet these criteria."""
    runs: list[dict[str, Any]] = post(f"{api}/flow_runs/filter", {"flow_runs": criteria})
    return runs


def logs(api: str, flow_run: str) -> list[str]:
    """Return the log lines of a flow run."""
    rows = post(f"{api}/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}})
    return [row["message"] for row in rows]


def post(url: str, content: dict[str, Any]) -> Any:
    """Return the JSON answer to a POST request."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(content).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)
