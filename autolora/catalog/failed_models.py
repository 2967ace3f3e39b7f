"""Failed items by model: what a report names together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from autolora.catalog.failed_items import FailedItem
from autolora.wording import counted

MAX_REASON_LENGTH = 200
"""characters of a reason; a hub's answer can be pages long"""


@dataclass(frozen=True, slots=True)
class FailedModel:
    """The failed items of one model in one stage: at least one, files first."""

    items: tuple[FailedItem, ...]

    @property
    def name(self) -> str:
        """The first file as `autolora show` accepts it; the model if only images failed."""
        first = self.items[0]
        return f"{first.hub}:{first.name if first.is_file else first.id}"

    @property
    def others(self) -> str:
        """The text that follows the name: the number of further files and of images; empty for a single file."""
        files = sum(item.is_file for item in self.items)
        images = len(self.items) - files
        counts = [counted(files - 1, "more file")] if files > 1 else []
        counts += [counted(images, "image")] if images else []
        return "".join(f"{' and ' if files else ': '}{text}" for text in counts)

    @property
    def reason(self) -> str:
        """The reason of the first failure, or each image with the reason why it has no caption.

        Shortened to MAX_REASON_LENGTH.
        """
        first = self.items[0]
        reason = first.reason.removeprefix(f"hub {first.hub}: ")
        if first.stage == "captions":
            reason = " | ".join(f"{item.name}: {item.reason}" for item in self.items)
        return reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[: MAX_REASON_LENGTH - 1]}…"

    @property
    def failure(self) -> str:
        """What failed, as a phrase."""
        return self.items[0].failure

    @property
    def retry_on(self) -> date:
        """The first day on which one of the items is tried again."""
        return min(item.retry_on for item in self.items)


def group_by_model(items: Iterable[FailedItem]) -> list[FailedModel]:
    """Return the failed items by stage and model: models with a failed file first, then those with failed images."""
    models: defaultdict[tuple[str, str, str], list[FailedItem]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (not item.is_file, item.hub, item.id, item.name)):
        models[item.stage, item.hub, item.id].append(item)
    return [FailedModel(tuple(group)) for group in models.values()]
