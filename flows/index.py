"""Stage `index`: embed new adapters, rewrite columns that have changed, remove adapters that left the dataset."""

import time
from functools import partial
from pathlib import Path

from autolora.index import stage
from autolora.models import load_text_encoder, set_threads
from autolora.params import Params
from autolora.progress import Progress
from autolora.storage.files import read_json
from autolora.storage.incremental import digest_path, read_digest
from autolora.text_encoder.sentences import open_language
from flows import engine
from flows.engine import Job, Work
from flows.stage import ROOT, flow, params, print_and_log, report, run


def open_index(root: Path, values: Params) -> stage.IndexSync:
    """Read dataset and encoder."""
    set_threads(values.models)
    return stage.open_sync(
        root,
        values.pool,
        lambda: load_text_encoder(values.models),
        lambda: open_language(root, values.encoder),
        values.models.device,
    )


def open_embedding(root: Path, values: Params) -> Work[tuple[str, ...]]:
    """Read dataset and encoder on a worker, and return what embeds a batch."""
    return open_index(root, values).compute


@flow(name="index")
def index() -> None:
    """Write data/index and digests/index.json."""
    started, values = time.perf_counter(), params()
    before = (read_json(digest_path(ROOT, "index")) or {}).get("rows", 0)
    sync = open_index(ROOT, values)
    for rows in engine.leftovers(ROOT, "index"):
        sync.store(rows)
    work = sync.plan()
    job = Job(
        root=ROOT,
        stage="index",
        batches=work.embed,
        open_work=partial(open_embedding, ROOT, values),
        opened=sync.compute,
        on_gpu=values.models.device == "cuda",
    )
    with Progress("index", sum(map(len, work.embed)), "adapters") as progress:
        for batch, rows in engine.run(job, values.operation.engine):
            sync.store(rows)
            progress.advance(len(batch))
    sync.update(work.update)
    sync.remove(work.remove)
    sync.save_tokenizer(values.models)
    sync.finish()
    after = read_digest(ROOT, "index")["rows"]
    report(added=after - before + len(work.remove), removed=len(work.remove))
    counts = ", ".join(f"{count} {action}" for action, count in work.counts.items())
    print_and_log(f"[index] {counts} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    run(index)
