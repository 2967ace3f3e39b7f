"""Text of a refresh's summary on captions that disagree with the weights."""

from pathlib import Path

from autolora.index import served
from autolora.index.caption_check import CaptionChecks, disagreeing, read_caption_checks
from autolora.index.store import folder
from autolora.report.refresh_summary import MAX_NAMED
from autolora.wording import counted


def caption_summary(root: Path) -> str:
    """Return the lines that compare the working index with the released one; to be read before the release."""
    released = served.former_digest(root)
    before = read_caption_checks(served.copy_path(root, released)) if released else {}
    return "\n".join(caption_lines(before, read_caption_checks(folder(root))))


def caption_lines(before: CaptionChecks, after: CaptionChecks) -> list[str]:
    """Return Markdown lines: the number of adapters whose captions disagree, and those that are new among them.

    Empty if the captions of no adapter disagree.
    """
    failed = disagreeing(after)
    known = disagreeing(before)
    new = [check for sha256, check in failed.items() if sha256 not in known]
    if not failed:
        return []
    adapters = counted(len(failed), "adapter")
    lines = [
        f"**Captions disagree with the weights: {adapters}, {len(new)} new since the last release.** Searches use "
        "their weights alone.",
        *([""] if new else []),
        *(f"- new: `{check.name}` ({check.cosines})" for check in new[:MAX_NAMED]),
    ]
    return [*lines, f"- new: {len(new) - MAX_NAMED} more"] if len(new) > MAX_NAMED else lines
