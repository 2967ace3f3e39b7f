"""Stage `index`: embed new adapters, rewrite columns that have changed, remove adapters that left the dataset."""

import time

from autolora.index import stage
from autolora.models import load_text_encoder, set_threads
from autolora.progress import Progress
from autolora.storage.files import read_json
from autolora.storage.incremental import digest_path, read_digest
from autolora.text_encoder.sentences import open_language
from flows.stage import ROOT, flow, params, print_and_log, report, run


@flow(name="index")
def index() -> None:
    """Write data/index and digests/index.json."""
    started, values = time.perf_counter(), params()
    before = (read_json(digest_path(ROOT, "index")) or {}).get("rows", 0)
    set_threads(values.models)
    sync = stage.open_sync(
        ROOT,
        values.pool,
        lambda: load_text_encoder(values.models),
        lambda: open_language(ROOT, values.encoder),
        values.models.device,
    )
    work = sync.plan()
    with Progress("index", sum(map(len, work.embed)), "adapters") as progress:
        for batch in work.embed:
            sync.embed(batch)
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
