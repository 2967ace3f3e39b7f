"""Stage `dataset`: update the tables of adapters, renderings, captions and prompts, and the training lock."""

from autolora.dataset import stage
from autolora.storage.tables import Counts
from flows.stage import ROOT, flow, params, print_and_log, report, run


@flow(name="dataset")
def dataset() -> None:
    """Write data/dataset, data/training.jsonl and digests/dataset.json."""
    section = params().dataset
    sync = stage.open_sync(ROOT, section)
    adapters = sync.update_adapters()
    report(added=adapters.added, removed=adapters.removed)
    report_counts("adapters", adapters)
    if sync.update_training_lock():
        print_and_log(f"[dataset] training lock: adapters first seen up to {section.train_until}")
    report_counts("renderings", sync.update_renderings())
    report_counts("captions", sync.update_captions())
    report_counts("prompts", sync.update_prompts())
    sync.finish()


def report_counts(table: str, counts: Counts) -> None:
    """Print the numbers of rows that were written to one table."""
    print_and_log(
        f"[dataset] {table}: {counts.added} added, {counts.changed} changed, {counts.removed} removed"
    )


if __name__ == "__main__":
    run(dataset)
