"""The result of inspecting one LoRA file: what it is, does and resembles."""

from dataclasses import asdict, dataclass
from typing import Any

from autolora.hubs.folder.header_facts import HeaderFacts
from autolora.inspection.blocks import Changes
from autolora.inspection.description import Description
from autolora.inspection.duplicates import NearDuplicate
from autolora.inspection.index_entry import IndexEntry
from autolora.lora.verdict import WARNINGS
from autolora.records import ACCEPTED

UNREADABLE = "unreadable"
"""verdict on a file that cannot be opened"""
UNREADABLE_REMEDY = (
    "Check that you may read the file, and that a link stays inside the folder. Report an unexpected error with its "
    "traceback."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """One inspected file; `to_row` gives it as JSON with these names."""

    path: str
    verdict: str
    """'accepted', 'unreadable' or a reason code of autolora.lora.verdict"""
    base: str
    """the base model that the file was inspected for"""
    header: HeaderFacts | None
    """None if the header cannot be read"""
    reason: str = ""
    """why it was refused"""
    remedy: str = ""
    """what to do about the reason"""
    size: int | None = None
    """bytes; this and the following are None if they are unknown, as most are of a refused file"""
    sha256: str | None = None
    trigger_words: tuple[str, ...] = ()
    """of the sidecars, else of the header"""
    layout: str | None = None
    rank_min: int | None = None
    rank_max: int | None = None
    num_slots: int | None = None
    """number of canonical slots with a nonzero update"""
    dtype: str | None = None
    keys_used: int | None = None
    keys_seen: int | None = None
    ignored_keys: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """codes of autolora.lora.verdict.WARNINGS"""
    changes: Changes | None = None
    exact_duplicate_of: str | None = None
    """an earlier file with the same bytes"""
    near_duplicate_of: NearDuplicate | None = None
    index: IndexEntry | None = None
    """what the project's index states; None if it does not contain the file, or outside of a project"""
    description: Description | None = None
    """None if the file was refused, or without an encoder"""

    @property
    def accepted(self) -> bool:
        """Whether the file is a LoRA for the base model."""
        return self.verdict == ACCEPTED

    @property
    def warning_texts(self) -> list[str]:
        """The meanings of the warnings."""
        return [WARNINGS[code] for code in self.warnings]

    def to_row(self) -> dict[str, Any]:
        """Return the JSON form; checks state whether text and weights agree."""
        row = asdict(self)
        if self.description:
            for content, check in zip(row["description"]["checks"], self.description.checks, strict=True):
                content["agrees"] = check.agrees
        return row
