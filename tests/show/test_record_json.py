"""`autolora show --json`: real values under stable keys."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.records import Permissions
from autolora.show.facts import describe_split
from autolora.show.lookup import lookup
from autolora.show.record_json import record_json
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    make_adapter,
    write_dataset,
    write_repository,
)
from tests.support.tiny_pool import RULES

KNOWN = make_adapter("mosaic", 0, nsfw=False, person=True, permissions=Permissions(commercial=False))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_repository(tmp_path, [KNOWN, make_adapter("neon", 1)])
    return tmp_path


def test_values_keep_their_kinds(root: Path) -> None:
    values = record_json(lookup(root, KNOWN.listing.id, RULES))
    assert values == json.loads(json.dumps(values))
    assert (values["nsfw"], values["person"], values["minor"], values["active"]) == (False, True, None, True)
    assert values["permissions"] == {"commercial": False, "derivatives": None, "credit": None}
    assert values["first_seen"] == DAY.isoformat() and isinstance(values["size"], int)
    assert values["trigger_words"] == list(KNOWN.listing.trigger_words)
    assert (
        isinstance(values["norm"], float)
        and isinstance(values["rank_max"], int)
        and values["warnings"] == ["fp8"]
    )
    assert (values["family"], values["split"], values["in_training_lock"]) == (None, None, False)


def test_keys_are_the_same_whatever_is_known(root: Path) -> None:
    known = record_json(lookup(root, KNOWN.listing.id, RULES))
    write_repository(root, [])
    queued = replace(make_adapter("chalk", 2).listing, status="queued", sha256=None)
    catalog.write(root, [queued])
    unknown = record_json(lookup(root, queued.id, RULES))
    assert unknown.keys() == known.keys()
    assert (unknown["sha256"], unknown["verdict"], unknown["layout"], unknown["active"]) == (
        None,
        None,
        None,
        False,
    )


def test_the_split_of_an_adapter_that_is_newer_than_the_lock_is_said_to_be_by_hash(root: Path) -> None:
    write_dataset(root, DATASET)
    locked = lookup(root, KNOWN.listing.id, RULES)
    assert locked.is_locked and locked.family and describe_split(locked) == locked.split
    newer = replace(locked, is_locked=False, split="train")
    assert describe_split(newer) == (
        "train, by the hash of its family: newer than the training lock, so nothing is trained on it"
    )
    assert describe_split(replace(locked, split=None)) == "none: not in the dataset"
