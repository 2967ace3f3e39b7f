"""One assembled page for all tests that only read it."""

from pathlib import Path

import pytest

from autolora.refresh.outcomes import Outcome
from autolora.refresh.record import RefreshRecord, write_refresh
from autolora.report.page import assemble
from tests.support.report_root import DAY, HOSTILE, write_pool, write_report_parts, write_vectors


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root in which all stages have run and a refresh has brought files, with its page."""
    root = tmp_path_factory.mktemp("root")
    adapters = write_pool(root)
    write_report_parts(root, adapters)
    write_vectors(root, adapters)
    name, page = f"huggingface:author3/{HOSTILE}", "https://huggingface.co/author3"
    rows = [
        *(Outcome(kind="accepted", name=name, sha256=adapters[number], page=page) for number in (3, 7)),
        *(
            Outcome(
                kind="refused", name=f"h:{n}", sha256=None, code="pickle", reason=HOSTILE, remedy="Do this."
            )
            for n in range(6)
        ),
        Outcome(kind="waiting", name="h:later", sha256=None, reason="turn"),
    ]
    write_refresh(root, RefreshRecord.of(DAY, "d" * 64, 12, rows, ["**stale: 3 listings of `civitai`**"]))
    assemble(root)
    return root
