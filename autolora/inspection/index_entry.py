"""What an index states about a file that it contains: name, license, trigger words and the captions' verdict."""

from dataclasses import dataclass

from autolora.catalog.names import full_name
from autolora.index.caption_check import check_captions
from autolora.index.copies import Index


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEntry:
    """The row of one adapter, as far as it describes the file."""

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
    check = check_captions(row)
    return IndexEntry(
        name=full_name(row["hub"], row["id"], row["file"]),
        license=row["license"],
        trigger_words=tuple(row["trigger_words"] or ()),
        captions_agree=check.agrees if check else None,
        captions_verdict=check.verdict if check else "",
    )
