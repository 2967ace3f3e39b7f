"""The totals of many inspections, counted one by one."""

from collections import Counter

from autolora.inspection.inspection import UNREADABLE_REMEDY, Inspection
from autolora.lora.remedies import REMEDIES
from autolora.lora.verdict import REASONS

UNREADABLE_MEANING = "the file cannot be read"


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
