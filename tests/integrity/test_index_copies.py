"""Copies of the index that a repair makes again."""

import json
import shutil
from pathlib import Path

from autolora.index.served import copy_path, open_index
from autolora.index.store import SCHEMA, content_digest
from autolora.integrity.index_copies import Copies
from autolora.integrity.verification import COPIES, MISSING, Finding
from tests.integrity.faults import flip_bit
from tests.integrity.repairs import sources
from tests.integrity.versioned_repository import VersionedRepository, commit


def test_copies_are_made_again_from_the_working_index_and_from_a_revision(
    repository: VersionedRepository,
) -> None:
    working = content_digest(repository.root)
    copies = sorted((repository.root / "cache/index").iterdir())
    for folder in copies:
        flip_bit(folder / "vectors.npy")
    planned = sources(repository.plan())
    assert {Path(path).parts[2]: str(source).split()[0] for path, source in planned.items()} == {
        folder.name: "working" if folder.name == working else "index" for folder in copies
    }
    assert sources(repository.repair()) == planned
    assert repository.verify().findings == ()
    assert sorted((repository.root / "cache/index").iterdir()) == copies
    assert open_index(repository.root).digest == working


def test_a_revision_of_another_layout_is_no_source_of_a_copy(repository: VersionedRepository) -> None:
    digest = repository.root / "digests/index.json"
    stated = json.loads(digest.read_text())
    for content, schema in (("5" * 64, SCHEMA), ("6" * 64, SCHEMA - 1)):
        digest.write_text(json.dumps(stated | {"content": content, "schema": schema}))
        commit(repository.root)
    copies = Copies(repository.root)

    def offer(content: str) -> str | None:
        path = str(copy_path(repository.root, content).relative_to(repository.root) / "vectors.npy")
        return copies.offer(Finding(path=path, kind=COPIES, problem=MISSING, expected=""))

    assert str(offer("5" * 64)).startswith("index of revision")
    assert offer("6" * 64) is None


def test_a_missing_list_of_hashes_is_written_again(repository: VersionedRepository) -> None:
    shutil.rmtree(repository.root / ".git")
    other = next(
        path
        for path in (repository.root / "cache/index").iterdir()
        if path != copy_path(repository.root, content_digest(repository.root))
    )
    (other / "hashes.json").unlink()
    assert list(sources(repository.repair()).values()) == ["the copy's own rows"]
    assert repository.verify().findings == ()
    flip_bit(other / "vectors.npy")
    (repair,) = repository.repair()
    assert (repair.source, repair.remark) == (
        None,
        f"this copy is not served: you may delete cache/index/{other.name}",
    )
