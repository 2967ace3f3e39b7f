"""Failed items by model."""

import datetime

from autolora.catalog.failed_items import FailedItem
from autolora.catalog.failed_models import group_by_model
from tests.support.synthetic_repo import DAY


def failed_file(name: str, id: str = "77", reason: str = "hash mismatch") -> FailedItem:
    """Return a failed download of a file."""
    return FailedItem(
        stage="pool", key=f"{id}/{name}", hub="civitai", id=id, name=f"{id}/{name}.safetensors", reason=reason,
        last_attempt=DAY,
    )  # fmt: skip


def failed_image(id: str, number: int, last_attempt: datetime.date = DAY) -> FailedItem:
    """Return a failed download of an image."""
    url = f"https://hub/{id}/{number}.png"
    reason = f"hub civitai: {url}: 404"
    return FailedItem(
        stage="pool", key=url, hub="civitai", id=id, name=url, reason=reason, last_attempt=last_attempt
    )


def test_failed_downloads_are_grouped_by_model_with_files_before_images() -> None:
    images = [*(failed_image("5", number) for number in range(4)), failed_image("78", 0)]
    images.append(failed_image("77", 0, last_attempt=DAY - datetime.timedelta(days=1)))
    files = [failed_file("b"), failed_file("a"), failed_file("c", id="78", reason="w" * 300)]
    first, second, third = group_by_model([*images, *files])
    assert (first.name, first.others) == ("civitai:77/a.safetensors", " and 1 more file and 1 image")
    assert (first.reason, first.retry_on) == ("hash mismatch", DAY)
    assert (second.name, second.others) == ("civitai:78/c.safetensors", " and 1 image")
    assert second.reason == "w" * 199 + "…"
    assert (third.name, third.others) == ("civitai:5", ": 4 images")
    assert third.reason == "https://hub/5/0.png: 404"
