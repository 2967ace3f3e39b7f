"""One assembled page for all tests that only read it."""

from pathlib import Path

import pytest

from autolora.report.page import assemble
from tests.support.report_root import write_pool, write_report_parts, write_vectors
from tests.support.study_tables import write_studies


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root in which all stages have run, with its page."""
    root = tmp_path_factory.mktemp("root")
    adapters = write_pool(root)
    write_report_parts(root, adapters)
    write_vectors(root, adapters)
    write_studies(root)
    assemble(root)
    return root
