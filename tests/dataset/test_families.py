"""Families of near-duplicate adapters, and the split of each family."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from autolora.dataset import store as dataset
from autolora.dataset.families import assign_families, assign_split
from autolora.lora.factors import Factors
from autolora.lora.fingerprint import fingerprint
from autolora.lora.sketch import cosine, sketch
from tests.support.synthetic_repo import (
    DAY,
    SLOTS,
    SPEC,
    make_adapter,
    make_adapters,
    write_dataset,
    write_repository,
)

LATER = DAY + datetime.timedelta(days=3)


def family_and_split(root: Path) -> dict[str, tuple[str, str]]:
    """Return adapter sha256 -> (family, split), from the dataset."""
    return {row["sha256"]: (row["family"], row["split"]) for row in dataset.rows(root, "adapters")}


def test_copies_join_a_family_and_new_adapters_change_no_family(tmp_path: Path) -> None:
    adapters = make_adapters(authors=(0, 1), themes=("mosaic", "neon", "linocut", "chalk"))
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    before = family_and_split(tmp_path)
    original = adapters[0]
    scaled = {name: replace(factors, scale=3.0 * factors.scale) for name, factors in original.lora.items()}
    copies = [make_adapter("copy", author, LATER, lora=scaled) for author in range(6)]
    write_repository(tmp_path, [*adapters, *copies])
    write_dataset(tmp_path)
    after = family_and_split(tmp_path)
    assert {sha256: after[sha256] for sha256 in before} == before
    assert {after[copy.sha256] for copy in copies} == {before[original.sha256]}


def test_locked_family_keeps_its_name_when_its_founder_is_withdrawn(tmp_path: Path) -> None:
    founder = make_adapter("mosaic", 0)
    copies = [make_adapter("copy", author, lora=founder.lora) for author in range(3)]
    write_repository(tmp_path, [founder, *copies])
    write_dataset(tmp_path)
    families = {sha256: family for sha256, (family, _) in family_and_split(tmp_path).items()}
    assert len(set(families.values())) == 1
    remaining = [adapter for adapter in (founder, *copies) if adapter.sha256 != families[founder.sha256]]
    write_repository(tmp_path, remaining)
    write_dataset(tmp_path)
    assert {family for family, _ in family_and_split(tmp_path).values()} == set(families.values())


def test_fingerprints_preserve_cosines_of_sketches() -> None:
    lora = make_adapter("mosaic", 0).lora
    noise = make_adapter("neon", 1).lora
    exact, estimated = [], []
    for strength in (0.02, 0.1, 0.3, 1.0):
        mixed = {
            name: Factors(
                down=torch.cat((factors.down, strength * noise[name].down)),
                up=torch.cat((factors.up, noise[name].up), dim=1),
                scale=1.0,
            )
            for name, factors in lora.items()
        }
        first, second = sketch(lora, SLOTS, SPEC), sketch(mixed, SLOTS, SPEC)
        exact.append(cosine(first, second))
        estimated.append(float(fingerprint(first.values.numpy()) @ fingerprint(second.values.numpy())))
    assert np.abs(np.array(exact) - np.array(estimated)).max() < 0.06
    assert abs(exact[0] - estimated[0]) < 0.002


def test_fingerprint_definition_never_changes() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    result = fingerprint(values)
    assert np.flatnonzero(result)[:4].tolist() == [155, 166, 171, 265]
    assert np.isclose(np.linalg.norm(result), 1)


def test_adapter_joins_the_family_of_the_most_similar_earlier_adapter() -> None:
    x, y = np.eye(2, dtype=np.float32)
    near_x = np.array([0.999, 0.045], dtype=np.float32)
    assert assign_families({"b": x, "a": near_x, "c": y}, {}, 0.95) == {"b": "b", "a": "b", "c": "c"}
    assert assign_families({"b": x, "a": near_x}, {"a": "old"}, 0.95) == {"a": "old", "b": "old"}
    assert assign_families({}, {}, 0.95) == {}


def test_split_depends_on_family_and_salt_and_matches_the_shares() -> None:
    splits = [assign_split(f"family {n}", "salt", 0.3, 0.1) for n in range(2000)]
    assert splits == [assign_split(f"family {n}", "salt", 0.3, 0.1) for n in range(2000)]
    assert abs(splits.count("test") / 2000 - 0.3) < 0.04
    assert abs(splits.count("validation") / 2000 - 0.1) < 0.03
    assert splits != [assign_split(f"family {n}", "pepper", 0.3, 0.1) for n in range(2000)]


def test_validation_takes_families_from_the_training_split_only() -> None:
    for number in range(500):
        without = assign_split(f"family {number}", "salt", 0.3, 0.0)
        split = assign_split(f"family {number}", "salt", 0.3, 0.2)
        assert split == without or (without, split) == ("train", "validation")
