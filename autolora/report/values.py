"""What an operator reads after a refresh: the values of reports/index.html and of the page `Pool` of `autolora serve`.

Imports no torch, so that the server starts fast.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autolora.catalog import failed_items
from autolora.catalog.diff import qualified_name
from autolora.catalog.failed_models import group_by_model
from autolora.catalog.store import read_all_or_empty
from autolora.clock import now
from autolora.index import store as index
from autolora.index.caption_check import disagreeing, read_caption_checks
from autolora.index.served import copy_path, former_digest
from autolora.lora.remedies import REMEDIES
from autolora.params import Params
from autolora.pool.batches import batches_folder
from autolora.records import Adapter, Listing
from autolora.refresh.last_refresh import read_last_refresh
from autolora.refresh.outcomes import LABELS
from autolora.refresh.record import read_refresh
from autolora.releases.state import attention, notice, read_state
from autolora.report.batches import describe_storage, storage_summary
from autolora.report.measured import read_measured
from autolora.stages import is_pipeline
from autolora.storage.files import read_rows
from autolora.wording import counted

MAX_NAMED = 5
"""failed models, and adapters whose captions disagree, that are named; the others are counted"""
MAX_REFUSED = 200
"""refused files of the pool that are named"""


def report_values(root: Path, params: Params | None) -> dict[str, Any]:
    """Return the values of the template components/report.html. params: None in a project without params.yaml.

    Raises MissingArtifact or MismatchError if a file is damaged.
    """
    record, measured = read_refresh(root), read_measured(root)
    refused, listings = _refused(root), read_all_or_empty(root)
    last = read_last_refresh(root)
    state = read_state(root, last, params.refresh.stale_days if params else None, now())
    return {
        "notice": notice(root, state, last),
        "record": record,
        "refused_now": [row for row in record.outcomes if row.kind == "refused"] if record else [],
        "labels": LABELS,
        "attention": [
            *attention(state),
            *(record.problems if record else ()),
            *_waiting(root, listings),
            *_captions(root),
            *measured.left_out,
        ],
        "refused": refused[:MAX_REFUSED],
        "num_refused": len(refused),
        "names": {listing.key: qualified_name(listing) for listing in listings},
        "remedies": REMEDIES,
        "numbers": measured.numbers,
        "unmeasured": measured.unmeasured,
        "is_pipeline": is_pipeline(root),
        "batches": describe_storage(storage_summary(root)),
    }


def _waiting(root: Path, listings: Sequence[Listing]) -> list[str]:
    """Return phrases on what waits: for another attempt, and for a later night."""
    models = group_by_model(failed_items.read(root).values())
    phrases = [
        f"{model.failure}: `{model.name}`{model.others} ({model.reason}); next attempt on {model.retry_on}"
        for model in models[:MAX_NAMED]
    ]
    if len(models) > MAX_NAMED:
        phrases.append(f"{counted(len(models) - MAX_NAMED, 'more model')} with failed items")
    if queued := sum(listing.status == "queued" for listing in listings):
        phrases.append(
            f"{counted(queued, 'new file waits', 'new files wait')} for a later night (`crawl.max_new_files`)"
        )
    return phrases


def _captions(root: Path) -> list[str]:
    """Return a phrase on captions that disagree with the weights in the index that is searched; none if all agree."""
    released = former_digest(root)
    checks = read_caption_checks(copy_path(root, released) if released else index.folder(root))
    names = [f"`{check.name}`" for check in disagreeing(checks).values()]
    if not names:
        return []
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [
        f"captions of {counted(len(names), 'adapter')} disagree with the weights, and searches do not use them: "
        f"{', '.join(names[:MAX_NAMED])}{more}; `autolora show NAME --captions` compares them"
    ]


def _refused(root: Path) -> list[Adapter]:
    """Return the files of the pool that were refused, by reason and name; none if the project has no pool.

    Reads the table without autolora.pool.store, which imports torch.
    """
    rows = read_rows(batches_folder(root).parent / "adapters.jsonl")
    adapters = (Adapter.from_row(row) for row in rows if row.get("active", True))
    refused = {adapter.sha256: adapter for adapter in adapters if not adapter.accepted}
    return sorted(refused.values(), key=lambda adapter: (adapter.verdict, adapter.key))
