"""What a repair downloads from the hub again, and what it does not accept."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from autolora.integrity import hub_source
from playground.hubs.state import Hub
from tests.integrity.faults import empty, flip_bit
from tests.integrity.repairs import IMAGES, WEIGHTS, sources
from tests.integrity.versioned_repository import VersionedRepository


def test_the_hub_restores_weights_and_images(repository: VersionedRepository, hub: Hub) -> None:
    before = repository.contents()
    paths = [repository.file(WEIGHTS), repository.file(IMAGES)]
    for path in paths:
        flip_bit(path)
    planned = sources(repository.plan())
    assert set(planned.values()) == {"hub huggingface"}
    assert sources(repository.repair()).items() >= planned.items()
    assert repository.contents() == before
    assert all(path.stat().st_nlink == 2 for path in paths)


def test_a_file_that_the_hub_changed_is_not_accepted(
    repository: VersionedRepository, hub_and_template: tuple[Hub, VersionedRepository]
) -> None:
    path, other = sorted(repository.root.glob(WEIGHTS))[:2]
    catalog = repository.root / "data/catalog.jsonl"
    rows = [json.loads(line) for line in catalog.read_text().splitlines()]
    urls = {row["sha256"]: row["url"] for row in rows}
    text = catalog.read_text().replace(urls[path.stem], urls[other.stem])
    catalog.write_text(text)
    repository.run("dvc", "commit", "-f", "-q", "pool")
    flip_bit(path)
    damaged = path.read_bytes()
    (repair,) = repository.repair()
    assert repair.source is None
    assert f"has sha256 {other.stem}, but {path.stem} is needed" in repair.remark
    assert path.read_bytes() == damaged


def test_an_image_that_is_encoded_otherwise_today_is_accepted_and_reported(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = hub_source.reencode_image

    def reencode(path: Path, bounds: object) -> tuple[bytes, int, int]:
        content, width, height = encode(path, bounds)  # type: ignore[arg-type]
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).save(buffer, "PNG", compress_level=0)
        return buffer.getvalue(), width, height

    monkeypatch.setattr(hub_source, "reencode_image", reencode)
    path = repository.file(IMAGES)
    batch = path.parents[1].relative_to(repository.root)
    flip_bit(path)
    restored = [repair for repair in repository.repair() if repair.source == "hub huggingface"]
    assert [repair.remark for repair in restored] == [
        f"its bytes differ from the former ones: {batch}.dvc names the new ones; commit it"
    ]
    assert repository.verify().findings == ()
    assert repository.run("git", "status", "--porcelain").split() == ["M", f"{batch}.dvc"]


def test_an_active_hub_does_not_restore_what_was_taken_down(repository: VersionedRepository) -> None:
    path = repository.file(WEIGHTS)
    repository.list_takedown(path)
    empty(path)
    assert repository.repair() == []
    assert path.read_bytes() == b""
