"""Bring the dataset up to date: tables of adapters, renderings, captions, prompts, and the training lock."""

import prefect
from rich import print

from autolora.dataset import stage
from autolora.params import DatasetParams
from autolora.storage.tables import Counts
from flows.stage import ROOT, params, run, task


@task()
def update_adapters(section: DatasetParams) -> Counts:
    """Write adapters that are new, described anew or captioned anew."""
    return stage.update_adapters(ROOT, section)


@task()
def lock_training(section: DatasetParams) -> bool:
    """Rewrite the training lock where its date has moved."""
    return stage.lock_training(ROOT, section)


@task()
def update_renderings() -> Counts:
    """Write their pictures."""
    return stage.update_renderings(ROOT)


@task()
def update_captions() -> Counts:
    """Write the pictures' captions."""
    return stage.update_captions(ROOT)


@task()
def update_prompts() -> Counts:
    """Write the queries that evaluation asks."""
    return stage.update_prompts(ROOT)


@task()
def finish() -> str:
    """Write the digest, last."""
    return stage.finish(ROOT)


@prefect.flow(name="dataset")
async def dataset() -> None:
    """Make data/dataset, data/training.jsonl and digests/dataset.json."""
    section = params().dataset
    say("adapters", update_adapters(section))
    if lock_training(section):
        print(f"training lock: adapters first seen up to {section.train_until}")
    say("renderings", update_renderings())
    say("captions", update_captions())
    say("prompts", update_prompts())
    finish()


def say(table: str, counts: Counts) -> None:
    """Print what was written."""
    print(f"{table}: {counts.added} added, {counts.changed} changed, {counts.removed} removed")


if __name__ == "__main__":
    run(dataset)
