"""Pending keys, and the digest of a stage."""

from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from autolora.storage.incremental import pending, read_digest, write_digest


def test_pending_keys_are_in_the_wanted_order() -> None:
    work = pending(["c", "a", "b", "a"], {"b", "z"})
    assert (work.add, work.remove) == (("c", "a"), ("z",))
    assert work
    assert not pending(["a"], ["a"])


def test_a_digest_depends_on_keys_rows_and_schema_not_on_order(tmp_path: Path) -> None:
    first = write_digest(tmp_path, "pool", {"a": "1", "b": "2"}, schema=1)
    assert write_digest(tmp_path, "pool", {"b": "2", "a": "1"}, schema=1) == first
    assert write_digest(tmp_path, "pool", {"a": "1", "b": "3"}, schema=1) != first
    assert write_digest(tmp_path, "pool", {"a": "1", "b": "2"}, schema=2) != first
    assert read_digest(tmp_path, "pool")["rows"] == 2


def test_a_missing_digest_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        read_digest(tmp_path, "index")
