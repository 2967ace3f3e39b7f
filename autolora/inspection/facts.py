"""Inspections in words: label -> text."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from autolora.encoder.tags import Tag, describe_tags
from autolora.hubs.folder.header_facts import HeaderFacts
from autolora.inspection.blocks import Changes
from autolora.inspection.description import Description, Match
from autolora.inspection.inspection import IndexEntry, Inspection

LARGEST_BLOCKS, LARGE_SHARE = 5, 2.0
"""blocks that are named: up to 5 with this multiple of the mean share"""
MAX_SAID = 100
"""characters of what is said about a file, in a row of a table"""
SAME_STRENGTH_TOLERANCE = 0.01
"""a ratio of strengths within this distance of 1 is not mentioned"""


def facts(inspection: Inspection) -> dict[str, str]:
    """Return all facts of an inspection but the path; what is unknown is left out."""
    known = {
        "verdict": describe_verdict(inspection),
        "what to do": inspection.remedy,
        "made for": describe_origin(inspection),
        "base model": "\n".join(inspection.disagreements),
        **(_index_facts(inspection.index) if inspection.index else {}),
        **(_description_facts(inspection.description) if inspection.description else {}),
        "trigger words": ", ".join(inspection.trigger_words),
        "description": "\n".join(inspection.said),
        "duplicate": describe_duplicate(inspection),
        **_file_facts(inspection),
        "size": "" if inspection.size is None else f"{inspection.size:,} bytes",
        "sha256": inspection.sha256 or "",
        **(_header_facts(inspection.header) if inspection.header else {}),
    }
    return {label: text for label, text in known.items() if text}


def summarize_inspection(inspection: Inspection) -> str:
    """Return the end of a file's row in a table: its words and what is unusual, or why it was refused."""
    if not inspection.accepted:
        return inspection.reason
    description = inspection.description
    words = _words_of(description.tags) if description and description.tags else shorten_said(inspection)
    trigger = ", ".join(inspection.trigger_words)
    notes = (
        words,
        f"trigger: {trigger}" if trigger else "",
        describe_duplicate(inspection),
        *inspection.disagreements,
        *(check.verdict for check in (description.checks if description else ()) if not check.agrees),
    )
    return "; ".join(filter(None, notes))


def shorten_said(inspection: Inspection) -> str:
    """Return the beginning of what sidecars and header say about a file, without its name; may be empty."""
    stem = Path(inspection.path).stem
    said = " · ".join(text for text in inspection.said if text != stem)
    return shorten(said, MAX_SAID, placeholder=" …")


def _words_of(tags: Sequence[Tag]) -> str:
    """Return the likely tags, else the most probable one as unsure."""
    likely = ", ".join(tag.text for tag in tags if tag.is_likely)
    return likely or f"unsure: {tags[0].text} ({tags[0].probability:.0%})"


def describe_verdict(inspection: Inspection) -> str:
    """Return the verdict as a phrase."""
    if inspection.accepted:
        return f"accepted: a LoRA for {inspection.base}"
    return f"refused ({inspection.verdict}): {inspection.reason}"


def describe_origin(inspection: Inspection) -> str:
    """Return the base model and the tool of a file; empty if it has no modules or its header cannot be read."""
    origin = inspection.made_for
    if origin is None or not origin.content:
        return ""
    if inspection.accepted:
        by = f", by {origin.writer}" if origin.writer else ""
        return origin.text if origin.base else f"{inspection.base}{by}"
    return f"{origin.text}; inspected for {inspection.base}"


def describe_rank(inspection: Inspection) -> str:
    """Return the rank, or the lowest and the highest; empty if the file was refused."""
    if inspection.rank_max is None:
        return ""
    is_same = inspection.rank_min == inspection.rank_max
    return str(inspection.rank_max) if is_same else f"{inspection.rank_min} to {inspection.rank_max}"


def describe_duplicate(inspection: Inspection) -> str:
    """Return which earlier file has the same bytes or nearly the same update; empty if there is none."""
    if inspection.exact_duplicate_of is not None:
        return f"same bytes as {inspection.exact_duplicate_of}"
    near = inspection.near_duplicate_of
    if near is None:
        return ""
    is_scaled = abs(near.strength - 1) > SAME_STRENGTH_TOLERANCE
    strength = f", {near.strength:g} times its strength" if is_scaled else ""
    return f"nearly the same update as {near.path} (cosine {near.cosine:.4f}{strength})"


def _file_facts(inspection: Inspection) -> dict[str, str]:
    """Return the content of an accepted file; empty if it was refused."""
    changes = inspection.changes
    if changes is None:
        return {}
    return {
        "layout": str(inspection.layout),
        "rank": describe_rank(inspection),
        "strength": f"{changes.norm:.3g} (Frobenius norm of the update, estimated)",
        "changes": f"{inspection.num_slots} layers: {_shares(changes.parts.items())}",
        "blocks": _describe_blocks(changes),
        "stored as": str(inspection.dtype),
        "keys": f"{inspection.keys_used} of {inspection.keys_seen} used",
        "ignored keys": ", ".join(inspection.ignored_keys),
        "warnings": "\n".join(inspection.warning_texts),
    }


def _describe_blocks(changes: Changes) -> str:
    """Return the shares of the stacks, and of the blocks that are changed much more than others."""
    lowest = LARGE_SHARE / len(changes.blocks)
    large = [item for item in changes.blocks.items() if item[1] >= lowest]
    largest = sorted(large, key=lambda item: -item[1])[:LARGEST_BLOCKS]
    return "; most in ".join(filter(None, (_shares(changes.stacks.items()), _shares(largest))))


def _shares(shares: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares)


def _description_facts(description: Description) -> dict[str, str]:
    return {
        "tags": describe_tags(description.tags) or "none: the encoder has no tags",
        "nearest captions": _lines(description.captions),
        "nearest adapters": "\n".join(f"{a.cosine:.2f} {a.name}" for a in description.adapters),
        "agreement": "\n".join(check.verdict for check in description.checks),
    }


def _index_facts(entry: IndexEntry) -> dict[str, str]:
    return {
        "in the index": entry.name,
        "license (index)": entry.license or "",
        "trigger words (index)": ", ".join(entry.trigger_words),
        "captions (index)": entry.captions_verdict,
    }


def _lines(matches: Iterable[Match]) -> str:
    return "\n".join(f"{match.cosine:.2f} {match.text}" for match in matches)


def _header_facts(header: HeaderFacts) -> dict[str, str]:
    return {
        **{f"header: {label}": text for label, text in header.description.items()},
        "header: tags of captions": ", ".join(f"{tag} ({count})" for tag, count in header.tags.items()),
        "header: training": _join(header.training),
        "header: left out": f"{header.private_fields} fields with a path" if header.private_fields else "",
    }


def _join(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{label} {text}" for label, text in texts.items())
