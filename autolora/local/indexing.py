"""`autolora index`: makes one's own files searchable, by the stages of the pipeline in one process.

The stages write what they write in the pipeline, without DVC, git and Prefect: catalog, pool, captions, dataset and
index in data/. The pool links to the files instead of downloading them. The encoder is a published one, or one that
was trained on the captions of these files.
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from autolora import models
from autolora.captions.store import read_captions
from autolora.catalog.sources import group_sources
from autolora.dataset import stage as dataset_stage
from autolora.encoder import stage as encoder_stage
from autolora.encoder.examples import load_examples
from autolora.encoder.language import general_language
from autolora.encoder.model import TextEncoder
from autolora.encoder.store import folder as encoder_folder
from autolora.encoder.store import write_language
from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.index import stage as index_stage
from autolora.index.served import copies_folder, former_digest, open_index, release
from autolora.index.store import content_digest
from autolora.local.links import link_files
from autolora.local.project import check_folder
from autolora.local.reading import read_files, read_images
from autolora.local.scan import scan
from autolora.lora.verdict import REASONS
from autolora.params import ModelsParams, Params
from autolora.pool.drawings import read_drawings
from autolora.pool.near_duplicates import NEAR_DUPLICATE
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from autolora.progress import Progress, track
from autolora.publication.encoder import use_published
from autolora.publication.manifest import MANIFEST
from autolora.records import ACCEPTED, Listing
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_file, hash_value
from autolora.storage.incremental import digest_path
from autolora.storage.lock import exclusive_lock
from autolora.text_encoder.clip import load_numpy_text_encoder
from autolora.text_encoder.sentences import open_language

ORIGINAL = re.compile(r"\(sha256 ([0-9a-f]{64})\); cosine ")
"""the original in the reason of a near-duplicate, see autolora.pool.near_duplicates"""
WRONG_BASE = "wrong-base"
MADE_FOR = re.compile(rf"^{REASONS[WRONG_BASE]}: (?!unknown\b)(\S.*?)(?= \(|, by |; this base model )")
"""the base in the reason of a file for another one, see autolora.lora.read"""
UNKNOWN_BASE = "for an unknown base"
INSTALLED = "cache/encoder"
"""file with the hash of what data/encoder was written from"""
TRAINED = hash_value("trained")
"""that hash of an encoder that was trained on the project's own files"""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """What one run found and did."""

    files: int
    """LoRA files in the folder"""
    copies: Mapping[str, str]
    """id of a file with the same bytes as another one -> id of that one"""
    verdicts: Mapping[str, Sequence[str]]
    """verdict -> ids of the files with it; of files with the same bytes the first one"""
    originals: Mapping[str, str]
    """id of a near-duplicate -> id of the file that is searchable in its place"""
    bases: Mapping[str, str]
    """id of a file that is refused as wrong-base -> the base that it was made for"""
    rejected: Mapping[str, int]
    """rule of the section `crawl` -> number of files that it rejects"""
    problems: tuple[str, ...]
    """one message per file, sidecar or image that cannot be used"""
    has_captioner: bool
    """params.yaml names an engine for captions"""
    images: int
    """valid ones of searchable files"""
    refused_images: int
    """new images that are not valid"""
    drawn: int
    """files that this run has let draw"""
    drawings: int
    """images that files have drawn, in this run or before"""
    per_day: int | None
    """files that may draw on a day; None: all"""
    undrawn: Sequence[str]
    """ids of the files without images that could draw some; empty if nothing would caption these"""
    restricted: Sequence[str]
    """ids of those that must not, as they are marked nsfw, or as showing a minor or a real person"""
    captions: int
    """new ones"""
    failed_captions: Mapping[str, str]
    """image -> why it has no caption"""
    changes: Mapping[str, int]
    """`embedded`, `updated` and `removed` -> number of adapters of the index"""
    index: str
    """content digest of the index that searches use now"""
    has_encoder: bool
    """whether an encoder has read the weights"""
    trained_on: int
    """captioned adapters that this run has trained an encoder on"""
    unknown: int
    """adapters that only their names find, as nothing is said about them, and no encoder has read their weights"""


def folder_of(root: Path, params: Params) -> Path:
    """Return the folder of a project's files. Raises ParamsError or MissingArtifact if it cannot be indexed."""
    if params.hubs.folder.path is None:
        raise ParamsError(
            "hubs.folder.path is null: give the folder of your LoRA files (`autolora index FOLDER`)"
        )
    folder = (root / Path(params.hubs.folder.path).expanduser()).resolve()
    check_folder(root, folder)
    return folder


def index_folder(
    root: Path, params: Params, today: date, *, draw: bool = False, train: bool = False
) -> IndexReport:
    """Bring the index of a project up to date with the folder that params.yaml names.

    draw: let files without images draw some. train: train an encoder on the captions of the adapters that were first
    seen up to dataset.train_until. Later runs use it until another one is trained. All other steps do only what is
    missing, so that an interrupted run is continued by the next one.
    Raises AutoLoraError if the folder or the encoder cannot be used, nothing can be trained on, another process changes
    the project, or a step fails.
    """
    folder = folder_of(root, params)
    if train:
        check_trainable(params)
    if draw:
        check_can_draw(params)
    with exclusive_lock(root):
        models.set_threads(params.models)
        found = scan(root, folder, params.crawl, today, params.pool)
        if params.encoder.from_ is not None:
            install_encoder(root, params)
        elif not is_trained(root):
            install_language(root, params)
        link_files(root, folder, found.listings)
        recipe = ReadRecipe.for_base_model(models.transformer_config(params.models), params.pool)
        sync = PoolSync(root, recipe)
        unread_files = read_files(root, sync, recipe)
        _check_base_model(sync, found.listings)
        refused_images, unread_images = read_images(root, sync, recipe)
        sync.write_tables()
        drawn = write_drawings(root, params, today, draw)
        undrawn, restricted = _waiting(root, params)
        captions, failed_captions = write_captions(root, params, today)
        _write_dataset(root, params, train=train)
        trained_on = _train(root, params) if train else 0
        has_encoder = params.encoder.from_ is not None or is_trained(root)
        changes = _write_index(root, params, has_encoder)
        index = _serve(root)
    return IndexReport(
        files=len(found.listings),
        copies={
            copy.id: sources.primary.id
            for sources in group_sources(found.listings).values()
            for copy in sources.listings[1:]
        },
        verdicts=_ids_by_verdict(sync, found.listings),
        originals=_originals(sync, found.listings),
        bases=_bases(sync, found.listings),
        rejected=found.rejected,
        problems=(*found.problems, *unread_files, *unread_images),
        has_captioner=params.captions.engine is not None,
        images=len(sync.images().keys() & sync.tables.renderings.keys()),
        refused_images=refused_images,
        drawn=drawn,
        drawings=sum(map(len, read_drawings(root).values())),
        per_day=params.drawings.per_day or None,
        undrawn=undrawn,
        restricted=restricted,
        captions=captions,
        failed_captions=failed_captions,
        changes=changes,
        index=index,
        has_encoder=has_encoder,
        trained_on=trained_on,
        unknown=0 if has_encoder else int((~open_index(root).evidence.has_texts).sum()),
    )


def _check_base_model(sync: PoolSync, listings: Sequence[Listing]) -> None:
    """Raise MismatchError if no file can be used, and some are of another base model than that of the project."""
    ids = _ids_by_verdict(sync, listings)
    if ids.get(WRONG_BASE) and not ids.get(ACCEPTED):
        raise MismatchError(
            f"none of the files is a LoRA for the base model of this project ({len(ids[WRONG_BASE])} are for another "
            "one), so none was indexed: `autolora inspect` says which; give an encoder for that base model (--encoder)"
        )


def _ids_by_verdict(sync: PoolSync, listings: Sequence[Listing]) -> dict[str, list[str]]:
    """Return verdict -> ids of the different files that were read, accepted ones first, then the most frequent."""
    sources = group_sources(listings)
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for key, row in sync.rows().items():
        ids[row.verdict].append(sources[key].primary.id)
    order = sorted(ids, key=lambda verdict: (verdict != ACCEPTED, -len(ids[verdict]), verdict))
    return {verdict: sorted(ids[verdict]) for verdict in order}


def _originals(sync: PoolSync, listings: Sequence[Listing]) -> dict[str, str]:
    """Return the id of each near-duplicate -> the id of its original, which its row names by sha256."""
    sources = group_sources(listings)
    ids = {row.sha256: sources[key].primary.id for key, row in sync.rows().items()}
    originals = {}
    for row in sync.rows().values():
        if named := row.verdict == NEAR_DUPLICATE and ORIGINAL.search(row.reason):
            originals[ids[row.sha256]] = ids[named[1]]
    return originals


def _bases(sync: PoolSync, listings: Sequence[Listing]) -> dict[str, str]:
    """Return the id of each file for another base -> that base, which its reason names."""
    sources = group_sources(listings)
    return {
        sources[key].primary.id: named[1] if (named := MADE_FOR.search(row.reason)) else UNKNOWN_BASE
        for key, row in sync.rows().items()
        if row.verdict == WRONG_BASE
    }


def _write_dataset(root: Path, params: Params, *, train: bool) -> None:
    """Write the tables of the dataset, and before a training the training lock."""
    sync = dataset_stage.open_sync(root, params.dataset)
    sync.update_adapters()
    if train:
        sync.update_training_lock(always=True)
    sync.update_renderings()
    sync.update_captions()
    sync.update_prompts()
    sync.finish()


def _write_index(root: Path, params: Params, has_encoder: bool) -> Mapping[str, int]:
    """Write the working index; return the numbers of embedded, updated and removed adapters."""
    sync = index_stage.open_sync(
        root,
        params.pool,
        lambda: _load_text_encoder(root, params.models),
        lambda: open_language(root, params.encoder),
        params.models.device,
        has_encoder=has_encoder,
    )
    plan = sync.plan()
    with Progress("index", sum(map(len, plan.embed)), "adapters embedded") as progress:
        for batch in plan.embed:
            sync.embed(batch)
            progress.advance(len(batch))
    sync.update(plan.update)
    sync.remove(plan.remove)
    if sync.encoder is not None:
        sync.save_tokenizer(params.models)
    sync.finish()
    return plan.counts


def _load_text_encoder(root: Path, params: ModelsParams) -> TextEncoder:
    """Return the text encoder in torch on a GPU, else in NumPy, which loads faster."""
    return (
        models.load_text_encoder(params) if params.device != "cpu" else load_numpy_text_encoder(root, params)
    )


def _serve(root: Path) -> str:
    """Make searches use the working index, remove the copies of all but this and the last one; return its digest.

    Hidden folders stay: another process may be making a copy in one.
    """
    digest, former = content_digest(root), former_digest(root)
    release(root, digest)
    for copy in copies_folder(root).iterdir():
        if copy.name not in (digest, former) and not copy.name.startswith("."):
            shutil.rmtree(copy)
    return digest


def write_drawings(root: Path, params: Params, today: date, draw: bool) -> int:
    """Let files without images draw some if asked to, forget what removed files drew; return how many have drawn.

    Raises MissingArtifact or MismatchError if the base model cannot be loaded.
    """
    if not draw and not read_drawings(root):
        return 0
    from autolora.drawings import stage  # here, as most projects draw nothing
    from autolora.drawings.recipe import Base
    from autolora.generation.images import Generator

    base = Base.of(params)
    per_day = params.drawings.per_day or None if draw else 0
    missing = stage.plan(root, replace(params.drawings, per_day=per_day), base, today)
    generator = Generator(root, params.models, params.pool)
    with Progress("index", sum(map(len, missing)), "images drawn") as progress:
        for rows in missing:
            stage.store(root, stage.draw(root, base, rows, generator))
            progress.advance(len(rows))
    stage.finish(root, today)
    return len(missing)


def _waiting(root: Path, params: Params) -> tuple[list[str], list[str]]:
    """Return the ids of the files without images that could draw some, and of those that must not."""
    from autolora.drawings import stage  # here, as in `write_drawings`
    from autolora.drawings.recipe import Base

    if params.captions.engine is None:
        return [], []
    return stage.waiting(root, params.drawings, Base.of(params))


def write_captions(root: Path, params: Params, today: date) -> tuple[int, Mapping[str, str]]:
    """Caption the images that have no caption yet; return the number of captions, and failed image -> reason.

    Without an engine nothing is done. Raises CaptionError if the engine cannot be used.
    """
    if params.captions.engine is None:
        return 0, {}
    from autolora import vlm  # here, because it takes long to import
    from autolora.captions import stage

    digest = vlm.digest(params.models)
    batches = stage.plan(root, params.captions, digest)
    captions, failures = 0, dict[str, str]()
    with Progress("index", sum(len(batch.images) for batch in batches), "images captioned") as progress:
        for batch in batches:
            engine = vlm.captioner(params.models, params.captions, params.vllm)
            result = stage.caption_batch(root, params.captions, batch, engine)
            captions += result.captions
            failures |= result.failures
            progress.advance(len(batch.images))
    stage.finish(root, params.captions, digest, params.models.dtype, today)
    return captions, failures


def check_can_draw(params: Params) -> None:
    """Raise ParamsError if files cannot draw, or nothing would caption what they draw; it states all reasons.

    Raises HubError if the VLM cannot be downloaded, CaptionError if no server answers.
    """
    from autolora import vlm  # here, because it takes long to import

    wrong = []
    if params.captions.engine is None:
        wrong.append(
            "captions.engine is null: set it to transformers, or to vllm for a server (`autolora vllm`)"
        )
    for check in (
        lambda: vlm.digest(params.models),
        lambda: models.check_draws(Path(params.models.pipeline)),
    ):
        try:
            check()
        except (MissingArtifact, ParamsError) as error:
            wrong.append(str(error))
    if wrong:
        raise ParamsError(
            "files cannot draw yet, by these values of params.yaml; then run `autolora index --draw`:\n"
            + "\n".join(f"- {reason}" for reason in wrong)
        )
    if params.captions.engine == "transformers":  # what would fail only after the last image
        models.resolve(params.models.vlm, params.models.vlm_revision, key="models.vlm")
    else:
        vlm.captioner(params.models, params.captions, params.vllm)


def check_trainable(params: Params) -> None:
    """Raise ParamsError if params.yaml names a published encoder, or nothing that writes captions."""
    if params.encoder.from_ is not None:
        raise ParamsError(
            f"encoder.from is {params.encoder.from_}, a published encoder: set encoder.from and encoder.from_revision "
            "to null in params.yaml to train one on your own files"
        )
    if params.captions.engine is None:
        raise ParamsError(
            "captions.engine is null, and an encoder is trained on captions of the images beside your files: set "
            "captions.engine in params.yaml to transformers, or to vllm for a server (`autolora vllm`)"
        )


def is_trained(root: Path) -> bool:
    """Return whether the encoder of a project was trained on its own files."""
    installed = root / INSTALLED
    return digest_path(root, "encoder").exists() and installed.exists() and installed.read_text() == TRAINED


def _train(root: Path, params: Params) -> int:
    """Train the encoder on the training lock; return the number of adapters.

    Raises MissingArtifact if no image has a caption, and as `encoder.stage.train`.
    """
    if not read_captions(root):
        raise MissingArtifact(
            "no image has a caption, and an encoder is trained on captions: put images beside your files, as "
            "NAME.png or in a folder NAME beside NAME.safetensors, and run `autolora index --train` again"
        )
    steps = encoder_stage.train(
        root,
        params.encoder,
        models.transformer_config(params.models),
        models.load_text_encoder(params.models),
        params.pool,
        params.models.device,
        open_language(root, params.encoder),
    )
    total = params.encoder.variant.steps if params.encoder.variant.model == "transformer" else 1
    for _ in track(steps, "index", total, "training steps"):
        pass
    write_atomic(root / INSTALLED, TRAINED)
    return len(load_examples(root))


def install_language(root: Path, params: Params) -> None:
    """Write the general language of the sentence encoder of params.yaml to data/encoder, unless it is there already.

    Then no encoder reads the weights, and adapters are found by what is said about them. Raises ParamsError if
    encoder.language is clip, and as `open_language`.
    """
    sentences = open_language(root, params.encoder)
    if sentences is None:
        raise ParamsError(
            "encoder.from is null and encoder.language is clip, so that nothing can be compared with a prompt: give a "
            "published encoder (`autolora index --encoder FOLDER|ID`), or set encoder.language to a sentence encoder"
        )
    installed, expected = root / INSTALLED, hash_value(["language", sentences.digest])
    if digest_path(root, "encoder").exists() and installed.exists() and installed.read_text() == expected:
        return
    write_language(root, general_language(sentences))
    write_atomic(installed, expected)


def install_encoder(root: Path, params: Params) -> None:
    """Write the published encoder that params.yaml names to data/encoder, unless it is there already.

    Raises as `use_published`.
    """
    source = params.encoder.from_
    assert source is not None
    transformer = models.transformer_config(params.models)
    text_encoder = load_numpy_text_encoder(root, params.models)
    origin = [
        source,
        _encoder_version(source, params),
        transformer,
        text_encoder.digest,
        params.pool.sketch_size,
    ]
    installed, expected = root / INSTALLED, hash_value(origin)
    outputs = (installed, digest_path(root, "encoder"), encoder_folder(root) / "model.safetensors")
    if all(path.exists() for path in outputs) and installed.read_text() == expected:
        return
    use_published(root, params.encoder, transformer, text_encoder, params.pool)
    write_atomic(installed, expected)


def _encoder_version(source: str, params: Params) -> str | None:
    """Return what identifies the files of a publication: its manifest has their hashes, a commit is immutable."""
    manifest = Path(source).expanduser() / MANIFEST
    return hash_file(manifest) if manifest.is_file() else params.encoder.from_revision
