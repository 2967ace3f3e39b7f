"""Fixtures of the tests of the Civitai client."""

import pytest
from pytest_httpserver import HTTPServer

from tests.hubs.civitai.fake_civitai import FakeCivitai


@pytest.fixture
def hub(httpserver: HTTPServer) -> FakeCivitai:
    return FakeCivitai(httpserver)
