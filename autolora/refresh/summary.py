"""Text of a refresh's report: what became of the files, what needs attention, and which digests changed."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from autolora.catalog.diff import Changes, qualified_name
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.failed_models import group_by_model
from autolora.catalog.names import full_name
from autolora.catalog.takedowns import Takedown
from autolora.index import served
from autolora.index.caption_check import CaptionChecks, disagreeing, read_caption_checks
from autolora.index.store import content_digest, folder
from autolora.refresh.outcomes import KINDS, LABELS, NEW, Outcome
from autolora.stages import AFTER_RELEASE
from autolora.wording import counted

MAX_NAMED = 20
"""entries of one kind that a report names; the others are counted"""


def refresh_summary(
    changes: Changes, outcomes: Sequence[Outcome], deferred: Sequence[FailedItem] = ()
) -> str:
    """Return the report of a refresh as Markdown: what became of each file, all changes, and the deferred items."""
    if not (changes or deferred):
        return "Nothing changed: the catalog and all digests are the same as before."
    lines = [f"**{summary_line(outcomes)}**", ""]
    for kind in KINDS:
        lines += _outcome_lines(kind, [outcome for outcome in outcomes if outcome.kind == kind])
    lines += _takedown_lines(changes.taken_down)
    lines += _deferred_lines(deferred)
    lines += [f"- {problem}" for problem in problems(changes)]
    lines += ["", "| stage | digest |", "|---|---|"]
    lines += [
        f"| {stage} | {'changed' if moved else 'unchanged'} |"
        for stage, moved in changes.stages.items()
        if stage not in AFTER_RELEASE
    ]
    return "\n".join(lines)


def code_span(text: str) -> str:
    """Return a text of others as Markdown code, which shows it as it is.

    Source: CommonMark, 6.1: a code span ends at a run of backticks of the length of the first one.
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks, space = "`" * (longest + 1), " " if longest else ""
    return f"{ticks}{space}{' '.join(text.split())}{space}{ticks}"


def plain(text: str) -> str:
    """Return a text that contains names of others as Markdown without images, HTML, lines and named links."""
    return re.sub(r"([\\\[\]<])", r"\\\1", " ".join(text.split()))


def summary_line(outcomes: Iterable[Outcome]) -> str:
    """Return the number of new files by what became of them, and of removed and changed ones, as one line."""
    counts: Counter[str] = Counter(outcome.kind for outcome in outcomes)
    new = [f"{counts[kind]} {label}" for kind, label in LABELS.items() if kind in NEW and counts[kind]]
    total = counted(sum(counts[kind] for kind in NEW), "new file")
    phrases = ", ".join(new)
    return (
        f"{total}{f': {phrases}' if phrases else ''}; {counts['removed']} removed, "
        f"{counts['changed']} with changed metadata"
    )


def problems(changes: Changes) -> list[str]:
    """Return phrases on hubs and listings that need attention: dropped hubs, missing and stale listings."""
    phrases = [
        f"hub {hub}: none of its {counted(number, 'listing', 'listings')} is left in the catalog"
        for hub, number in changes.dropped_hubs.items()
    ]
    missing = "missing from its hub's list, but still available"
    phrases += [f"{missing}: {code_span(qualified_name(listing))}" for listing in changes.missing[:MAX_NAMED]]
    more = len(changes.missing) - MAX_NAMED
    phrases += [f"{missing}: {more} more"] if more > 0 else []
    for hub in sorted({listing.hub for listing in changes.stale}):
        days = [
            listing.stale_since for listing in changes.stale if listing.hub == hub and listing.stale_since
        ]
        listings = counted(len(days), "listing")
        phrases.append(f"**stale: {listings} of {hub} retained from an earlier crawl since {min(days)}**")
    return phrases


def _outcome_lines(kind: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line per file of one kind: name, reason code, reason and remedy."""
    lines = []
    for outcome in outcomes[:MAX_NAMED]:
        code = f" ({outcome.code})" if outcome.code else ""
        details = plain(". ".join(filter(None, (outcome.reason, outcome.remedy))))
        name = f"[{code_span(outcome.name)}]({outcome.page})" if outcome.page else code_span(outcome.name)
        lines.append(f"- {LABELS[kind]}{code}: {name}{f': {details}' if details else ''}")
    more = len(outcomes) - MAX_NAMED
    return [*lines, f"- {LABELS[kind]}: {more} more"] if more > 0 else lines


def _deferred_lines(items: Iterable[FailedItem]) -> list[str]:
    """Return one line per stage and model with deferred items: name, reason and day of the next attempt."""
    models = group_by_model(items)
    lines = [
        f"- **deferred, {model.failure}: {code_span(model.name)}{model.others}** ({plain(model.reason)}); "
        f"next attempt on {model.retry_on}"
        for model in models[:MAX_NAMED]
    ]
    more = len(models) - MAX_NAMED
    return [*lines, f"- deferred: {counted(more, 'more model', 'more models')}"] if more > 0 else lines


def _takedown_lines(rows: Sequence[Takedown]) -> list[str]:
    """Return one line per takedown, with its reason."""
    lines = [
        f"- taken down: {code_span(_takedown_name(row))} ({plain(row.reason)})" for row in rows[:MAX_NAMED]
    ]
    more = len(rows) - MAX_NAMED
    return [*lines, f"- taken down: {more} more"] if more > 0 else lines


def _takedown_name(row: Takedown) -> str:
    """Return the file as `autolora show` accepts it, the URL of the image, or the sha256 if no listing shows it."""
    if not row.hub:
        return f"{row.kind} {row.sha256}"
    return full_name(row.hub, row.id, row.file) if row.kind == "weights" else row.file


def caption_summary(root: Path) -> str:
    """Return the lines that compare the working index with the released one; to be read before the release."""
    released = served.former_digest(root)
    before = read_caption_checks(served.copy_path(root, released)) if released else {}
    # an index that is served is not read again by Lance, whose import takes a second
    is_served = before and released == content_digest(root)
    return "\n".join(caption_lines(before, before if is_served else read_caption_checks(folder(root))))


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
        *(f"- new: {code_span(check.name)} ({check.cosines})" for check in new[:MAX_NAMED]),
    ]
    return [*lines, f"- new: {len(new) - MAX_NAMED} more"] if len(new) > MAX_NAMED else lines
