"""Estimates of the stages that collect and describe adapters: crawl, pool, captions, dataset, index, evaluation."""

import math
from dataclasses import replace

from autolora.evaluation.benchmark import MAX_QUERIES
from autolora.planning import passes
from autolora.planning.cost import NUMBER_BYTES, Setting, StageCost
from autolora.planning.meta_models import weight_bytes
from autolora.planning.tally import Tally
from autolora.storage.files import GB
from autolora.wording import counted

MODELS_PER_PAGE = 100
"""of the list of Hugging Face"""
PAGES_OF_NEWS = 2
"""that a crawl reads which is no full scan: one with new models, and the first without"""
INSTRUCTION_TOKENS = 40
"""of an instruction with the chat's template"""
TEXTS_PER_BATCH = 128
TEXTS_SAID = 2
"""by names, headers and sidecars about one of one's own files"""


def crawl(setting: Setting) -> StageCost:
    """List the hub's models, and request those that are admitted: one crawl per day, until all are."""
    work, hubs, rules = setting.work, setting.params.hubs, setting.params.crawl
    pages = math.ceil(work.listed / MODELS_PER_PAGE)
    full_scans = math.ceil(work.days / rules.full_scan_every_days)
    news = (work.days - full_scans) * min(pages, PAGES_OF_NEWS)
    requests = full_scans * pages + news + work.adapters
    return StageCost(
        stage="crawl",
        does=f"{counted(work.listed, 'listed model')}, {work.adapters:,} of them requested in "
        f"{counted(work.days, 'crawl')}, the first of {counted(pages + work.per_day, 'request')}",
        seconds=setting.start_s + setting.rate("doctor_s") + requests / hubs.requests_per_s,
        disk=work.adapters * setting.rate("catalog_adapter_bytes"),
        memory=setting.rate("process_bytes"),
        hub_requests=requests,
    )


def pool(setting: Setting) -> StageCost:
    """Download weights and images, or link to one's own; read and sketch the weights, encode the images again."""
    work, hubs = setting.work, setting.params.hubs
    files, images = work.adapters * work.file_bytes, work.images * work.image_px
    stored = images * setting.rate("png_bytes_per_px")
    requests = 0 if setting.own_files else work.adapters + work.images
    speed = min(setting.rate("network_bytes_per_s"), (hubs.max_mb_per_s or math.inf) * 1e6)
    download = max(requests / hubs.requests_per_s, (files + stored) / speed) if requests else 0.0
    compute = files / setting.rate("read_bytes_per_s") + images / setting.rate("image_px_per_s")
    return StageCost(
        stage="pool",
        does=f"{counted(work.adapters, 'file')} of {work.file_bytes / 1e6:.4g} MB, {counted(work.images, 'image')}",
        seconds=setting.start_s + max(download, compute / min(hubs.downloads, setting.threads)),
        disk=_batch_bytes(setting, files, stored)
        + work.adapters * (setting.sketch_bytes + setting.rate("catalog_adapter_bytes")),
        memory=setting.rate("process_bytes") + hubs.downloads * work.file_bytes,
        hub_requests=requests,
    )


def _batch_bytes(setting: Setting, files: float, images: float) -> float:
    """Return the bytes of batches on this disk: none of own files, which are linked, else what eviction leaves."""
    work, keep = setting.work, setting.params.storage.keep_local_gb
    if setting.own_files:
        return 0.0
    batches = files + images
    if keep is None:
        return batches
    return min(
        batches, keep * GB + batches * work.per_day / work.adapters
    )  # a refresh evicts after it stores


def captions(setting: Setting) -> StageCost:
    """Caption every image once per length."""
    work, params = setting.work, setting.params
    if not params.captions.engine:
        return StageCost(stage="captions", does="none: captions.engine is null", seconds=setting.start_s)
    weights, in_process = weight_bytes(setting.captioner), params.captions.engine == "transformers"
    memory, gpu_memory = setting.place(weights if in_process else 0, 0)
    load = setting.load_s(weights) if in_process else 0
    return StageCost(
        stage="captions",
        does=f"{counted(work.images, 'image')} × {counted(work.lengths, 'caption')} of {params.captions.max_tokens} "
        "tokens at most",
        seconds=setting.start_s + load + _caption_seconds(setting, params.captions.batch, in_process),
        disk=work.captions * setting.rate("caption_bytes"),
        memory=memory,
        gpu_memory=gpu_memory,
        vlm_requests=0 if in_process else work.captions,
    )


def _caption_seconds(setting: Setting, batch: int, in_process: bool) -> float:
    """Return the seconds of all captions: images are read in batches, and tokens written one after the other."""
    work, params = setting.work, setting.params.captions
    px = min(work.image_px, params.max_image_side**2)
    batches = math.ceil(work.images / batch)
    read = passes.read_image(setting.captioner, 1, px, INSTRUCTION_TOKENS)
    write = passes.write_tokens(setting.captioner, batch, 1)
    per_batch = setting.machine.seconds(in_batch(read, batch))
    tokens = params.max_tokens * setting.rate("caption_length") * work.lengths
    reads = work.lengths if in_process else 1  # vLLM keeps what it computed for an image
    return batches * (per_batch * reads + setting.machine.seconds(write) * tokens)


def in_batch(tally: Tally, batch: int) -> Tally:
    """Return the tally of a batch of items, from that of one: as many calls, each with more to do."""
    return replace(tally * batch, calls=tally.calls)


def dataset(setting: Setting) -> StageCost:
    """Join metadata, captions, families and splits."""
    work = setting.work
    return StageCost(
        stage="dataset",
        does=f"{counted(work.adapters, 'adapter')}, {counted(work.captions, 'caption')}",
        seconds=setting.start_s + work.adapters * setting.rate("dataset_adapter_s"),
        disk=work.adapters * setting.rate("dataset_adapter_bytes"),
        memory=setting.rate("process_bytes") + _table_bytes(setting),
    )


def index(setting: Setting) -> StageCost:
    """Embed every adapter and its captions."""
    work, vector = setting.work, setting.text_width
    embedded = work.adapters if setting.has_encoder else 0
    flops = 2.0 * embedded * setting.sketch_numbers * vector
    traffic = 2.0 * embedded * setting.sketch_numbers * NUMBER_BYTES
    read = embedded * setting.read_adapter_s
    embed = setting.machine.seconds(Tally(flops, traffic)) + read + encode_all_texts(setting, work.captions)
    weights = setting.encoder_bytes + setting.text_encoder_bytes
    memory, gpu_memory = setting.place(weights, 0, _table_bytes(setting))
    said = work.captions + (0 if setting.has_encoder else TEXTS_SAID * work.adapters)
    language = setting.params.encoder.has_language
    write = work.adapters * setting.rate("index_adapter_s") + language * said * setting.rate(
        "language_text_s"
    )
    size = work.adapters * (2 * vector * NUMBER_BYTES + setting.rate("index_adapter_bytes"))
    return StageCost(
        stage="index",
        does=f"{counted(embedded, 'vector')} of {vector} numbers, {counted(work.captions, 'caption')}",
        seconds=setting.start_s + setting.load_s(weights) + embed + write,
        disk=size + language * setting.rate("sentence_encoder_bytes"),
        memory=memory,
        gpu_memory=gpu_memory,
    )


def evaluation(setting: Setting) -> StageCost:
    """Search with the captions of unseen adapters, by every method."""
    work, params = setting.work, setting.params
    share = (
        params.dataset.test_share if params.evaluation.split == "test" else params.dataset.validation_share
    )
    queries = min(round(work.captions * share), MAX_QUERIES)
    weights = setting.text_encoder_bytes
    memory, gpu_memory = setting.place(weights, 0, _table_bytes(setting))
    search = encode_all_texts(setting, work.captions + queries) + work.adapters * setting.rate(
        "evaluation_adapter_s"
    )
    return StageCost(
        stage="evaluation",
        does=f"{counted(queries, 'query', 'queries')} of {counted(work.adapters, 'adapter')}",
        seconds=setting.start_s + setting.load_s(weights) + search,
        memory=memory,
        gpu_memory=gpu_memory,
    )


def report(setting: Setting) -> StageCost:
    """Write the page of the report, at the end of a refresh."""
    return StageCost(
        stage="report",
        does=counted(setting.work.adapters, "adapter"),
        seconds=setting.start_s + setting.work.adapters * setting.rate("report_adapter_s"),
        memory=setting.rate("process_bytes") + _table_bytes(setting),
    )


def encode_all_texts(setting: Setting, texts: int, tokens: int | None = None) -> float:
    """Return the seconds to encode texts by CLIP. tokens: of each text; None: those of a caption."""
    length = tokens or math.ceil(setting.rate("caption_length") * setting.params.captions.max_tokens)
    batch = passes.clip_texts(setting.pipeline, max(1, min(texts, TEXTS_PER_BATCH)), length)
    return math.ceil(texts / TEXTS_PER_BATCH) * setting.machine.seconds(batch)


def _table_bytes(setting: Setting) -> float:
    return setting.work.adapters * setting.rate("table_adapter_bytes")
