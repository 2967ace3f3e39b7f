"""The check of an adapter's captions against its weights, as an index states it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora.catalog.names import full_name
from autolora.index.copies import Rows, is_copy, map_columns
from autolora.index.store import CHECKS, TABLE
from autolora.storage.files import Row, read_json
from autolora.storage.tables import read_table


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionCheck:
    """How well the captions of one adapter agree with its weights."""

    name: str
    """of the adapter as `autolora show` accepts it: hub:id/file"""
    agreement: float
    """cosine of the weights' vector and the captions' centroid, relative to the mean caption"""
    expected: float
    """the lowest agreement of right captions, almost always"""
    agrees: bool
    """whether searches use the captions"""

    @property
    def cosines(self) -> str:
        """Return agreement and expected agreement as a phrase."""
        return f"cosine {self.agreement:.2f}, at least {self.expected:.2f} expected"

    @property
    def verdict(self) -> str:
        """Return the verdict as a phrase."""
        if self.agrees:
            return f"captions agree with the weights ({self.cosines})"
        return f"captions disagree with the weights ({self.cosines}): they are not used in searches"


CaptionChecks = Mapping[str, CaptionCheck]
"""adapter -> its check"""


def read_caption_checks(folder: Path) -> dict[str, CaptionCheck]:
    """Return adapter -> check of the index in a folder, the working one or a copy; adapters without captions have none.

    Empty if there is no index, if its encoder takes no captions, or if an older version of AutoLoRA wrote it.
    """
    meta = read_json(folder / "meta.json")
    if meta is None or meta.get("agreement_margin") is None:
        return {}
    names = ["sha256", "hub", "id", "file", *CHECKS]
    rows = Rows(map_columns(folder).select(names)) if is_copy(folder) else read_table(folder, TABLE, names)
    checks = ((row["sha256"], check_captions(row)) for row in rows)
    return {sha256: check for sha256, check in checks if check}


def check_captions(row: Row) -> CaptionCheck | None:
    """Return the check that a row of an index states; None without captions, or if its encoder takes none."""
    if row["uses_captions"] is None:
        return None
    return CaptionCheck(
        name=full_name(row["hub"], row["id"], row["file"]),
        agreement=row["agreement"],
        expected=row["expected_agreement"],
        agrees=row["uses_captions"],
    )


def disagreeing(checks: CaptionChecks) -> dict[str, CaptionCheck]:
    """Return the checks of adapters whose captions disagree with the weights, lowest agreement first."""
    failed = [item for item in checks.items() if not item[1].agrees]
    return dict(sorted(failed, key=lambda item: (item[1].agreement, item[0])))
