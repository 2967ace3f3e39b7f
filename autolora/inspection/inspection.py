"""The result of inspecting one LoRA file: what it is, does and resembles; and the totals of many."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from autolora.catalog.names import full_name
from autolora.hubs.folder.header_facts import HeaderFacts
from autolora.index.caption_check import check_captions
from autolora.index.copies import Index
from autolora.inspection.blocks import Changes
from autolora.inspection.description import Description
from autolora.inspection.duplicates import NearDuplicate
from autolora.lora.bases import Origin
from autolora.lora.remedies import REMEDIES
from autolora.lora.verdict import REASONS, WARNINGS
from autolora.records import ACCEPTED

UNREADABLE = "unreadable"
"""verdict on a file that cannot be opened"""
UNREADABLE_MEANING = "the file cannot be read"
UNREADABLE_REMEDY = (
    "Check that you may read the file, and that a link stays inside the folder. Report an unexpected error with its "
    "traceback."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEntry:
    """What an index states about a file that it contains: name, license, trigger words and the captions' verdict."""

    name: str
    """as `autolora show` accepts it, e.g. hub:id/file"""
    license: str | None
    """None if the hub states none"""
    trigger_words: tuple[str, ...]
    captions_agree: bool | None
    """whether searches use the captions; None without captions, or if the encoder takes none"""
    captions_verdict: str
    """how well captions and weights agree, as a phrase; empty if it is not known"""


def find_entry(index: Index, sha256: str) -> IndexEntry | None:
    """Return the entry of the file with these bytes; None if the index does not contain it."""
    position = int(index.find([sha256])[0])
    if position < 0:
        return None
    row = index.rows[position]
    check = check_captions(row, bool(index.has_captions[position]))
    return IndexEntry(
        name=full_name(row["hub"], row["id"], row["file"]),
        license=row["license"],
        trigger_words=tuple(row["trigger_words"] or ()),
        captions_agree=check.agrees if check else None,
        captions_verdict=check.verdict if check else "",
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
    made_for: Origin | None = None
    """base model and tool, as the tensors show them; None if the header cannot be read"""
    disagreements: tuple[str, ...] = ()
    """how header and sidecar disagree with the weights about the base model, one sentence each"""
    reason: str = ""
    """why it was refused"""
    remedy: str = ""
    """what to do about the reason"""
    size: int | None = None
    """bytes; this and the following are None if they are unknown, as most are of a refused file"""
    sha256: str | None = None
    trigger_words: tuple[str, ...] = ()
    """of the sidecars, else of the header"""
    said: tuple[str, ...] = ()
    """titles, tags and descriptions in sidecars and header"""
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


class Totals:
    """Numbers of files by what was found."""

    def __init__(self) -> None:
        self.files = self.accepted = self.exact_duplicates = self.near_duplicates = self.disagreeing = 0
        self.refused: Counter[str] = Counter()
        """by reason code"""

    def count(self, inspection: Inspection) -> None:
        """Add one inspection."""
        self.files += 1
        self.accepted += inspection.accepted
        self.exact_duplicates += inspection.exact_duplicate_of is not None
        self.near_duplicates += inspection.near_duplicate_of is not None
        checks = inspection.description.checks if inspection.description else ()
        self.disagreeing += any(not check.agrees for check in checks)
        if not inspection.accepted:
            self.refused[inspection.verdict] += 1

    @property
    def remedies(self) -> list[tuple[str, int, str, str]]:
        """Return reason code, number of files, meaning and remedy, the most frequent first."""
        return [
            (code, count, REASONS.get(code, UNREADABLE_MEANING), REMEDIES.get(code, UNREADABLE_REMEDY))
            for code, count in self.refused.most_common()
        ]
