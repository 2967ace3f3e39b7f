"""Stage `dataset`: update the tables of adapters, renderings, captions and prompts, and the training lock."""

from typing import Any

from prefect.utilities.annotations import opaque

from autolora.dataset import stage
from autolora.params import DatasetParams
from autolora.storage.tables import Counts
from flows.stage import ROOT, flow, params, print_and_log, run, task


@task()
def open_sync(section: DatasetParams) -> stage.DatasetSync:
    """Read catalog, pool and captions; once, for all tables."""
    return stage.open_sync(ROOT, section)


@task()
def update_adapters(sync: stage.DatasetSync) -> Counts:
    """Write new adapters and those whose description or captions have changed."""
    return sync.update_adapters()


@task()
def update_training_lock(sync: stage.DatasetSync) -> bool:
    """Write the training lock if dataset.train_until has changed."""
    return sync.update_training_lock()


@task()
def update_renderings(sync: stage.DatasetSync) -> Counts:
    """Write the adapters' renderings."""
    return sync.update_renderings()


@task()
def update_captions(sync: stage.DatasetSync) -> Counts:
    """Write the renderings' captions."""
    return sync.update_captions()


@task()
def update_prompts(sync: stage.DatasetSync) -> Counts:
    """Write the evaluation queries."""
    return sync.update_prompts()


@task()
def finish(sync: stage.DatasetSync) -> str:
    """Write the digest; the last step."""
    return sync.finish()


@flow(name="dataset")
async def dataset() -> None:
    """Write data/dataset, data/training.jsonl and digests/dataset.json."""
    section = params().dataset
    sync: Any = opaque(open_sync(section))  # Prefect passes the object on without looking into it
    report_counts("adapters", update_adapters(sync))
    if update_training_lock(sync):
        print_and_log(f"[dataset] training lock: adapters first seen up to {section.train_until}")
    report_counts("renderings", update_renderings(sync))
    report_counts("captions", update_captions(sync))
    report_counts("prompts", update_prompts(sync))
    finish(sync)


def report_counts(table: str, counts: Counts) -> None:
    """Print the numbers of rows that were written to one table."""
    print_and_log(
        f"[dataset] {table}: {counts.added} added, {counts.changed} changed, {counts.removed} removed"
    )


if __name__ == "__main__":
    run(dataset)
