"""Stage `dataset`: update the tables of adapters, renderings, captions and prompts, and the training lock."""

from autolora.dataset import stage
from autolora.params import DatasetParams
from autolora.storage.tables import Counts
from flows.stage import ROOT, flow, params, print_and_log, run, task


@task()
def update_adapters(section: DatasetParams) -> Counts:
    """Write new adapters and those whose description or captions have changed."""
    return stage.update_adapters(ROOT, section)


@task()
def update_training_lock(section: DatasetParams) -> bool:
    """Write the training lock if dataset.train_until has changed."""
    return stage.update_training_lock(ROOT, section)


@task()
def update_renderings() -> Counts:
    """Write the adapters' renderings."""
    return stage.update_renderings(ROOT)


@task()
def update_captions() -> Counts:
    """Write the renderings' captions."""
    return stage.update_captions(ROOT)


@task()
def update_prompts() -> Counts:
    """Write the evaluation queries."""
    return stage.update_prompts(ROOT)


@task()
def finish() -> str:
    """Write the digest; the last step."""
    return stage.finish(ROOT)


@flow(name="dataset")
async def dataset() -> None:
    """Write data/dataset, data/training.jsonl and digests/dataset.json."""
    section = params().dataset
    report_counts("adapters", update_adapters(section))
    if update_training_lock(section):
        print_and_log(f"[dataset] training lock: adapters first seen up to {section.train_until}")
    report_counts("renderings", update_renderings())
    report_counts("captions", update_captions())
    report_counts("prompts", update_prompts())
    finish()


def report_counts(table: str, counts: Counts) -> None:
    """Print the numbers of rows that were written to one table."""
    print_and_log(
        f"[dataset] {table}: {counts.added} added, {counts.changed} changed, {counts.removed} removed"
    )


if __name__ == "__main__":
    run(dataset)
