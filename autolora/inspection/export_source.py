"""What is exported: a LoRA file, or an adapter of a project's index, with what is known about its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from autolora.catalog.names import full_name
from autolora.errors import MissingArtifact
from autolora.hubs.folder.header_facts import DESCRIPTION, TRIGGERS, public_text, read_facts
from autolora.index.names import EXPECTED, AdapterNames
from autolora.index.served import open_index
from autolora.inspection.base_model import BaseModel
from autolora.lora.factors import Lora
from autolora.lora.read import read, read_header
from autolora.lora.verdict import WARNINGS
from autolora.pool.store import weights_path
from autolora.pool.weights import load_lora
from autolora.storage.files import Row
from autolora.storage.hashes import hash_file

LICENSE, TRIGGER, TITLE = "modelspec.license", TRIGGERS[0], "modelspec.title"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSource:
    """A LoRA, and the header of its exported file."""

    lora: Lora
    metadata: dict[str, str]
    left_out: str
    """what of the source is not exported, as a phrase; empty if nothing is"""


def open_source(name: str, root: Path | None, base: BaseModel) -> ExportSource:
    """Return the LoRA of a file, or of an adapter of the served index as `generate --adapter` names it.

    root: of the project; None outside of one. Raises RefusedFile if the file is not accepted, MissingArtifact if there
    is neither such a file nor such an adapter.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _open_file(path.resolve(), root, base)
    if root is None:
        raise MissingArtifact(
            f"there is no file {name}, and no project whose index could contain an adapter of this name: give a LoRA "
            f"file or, in a project, {EXPECTED}"
        )
    return _open_adapter(name, root, base)


def _open_file(path: Path, root: Path | None, base: BaseModel) -> ExportSource:
    reading, sha256 = read(path, base.slots, base.bounds), hash_file(path)
    return ExportSource(
        lora=reading.lora,
        metadata=_provenance(sha256, reading.layout)
        | _header_fields(reading.metadata)
        | _index_fields(_find_row(root, sha256)),
        left_out=", ".join(reading.ignored_keys),
    )


def _open_adapter(name: str, root: Path, base: BaseModel) -> ExportSource:
    rows = open_index(root).rows
    row = rows[AdapterNames.of_index(rows.columns).find_one(name)]
    lora = load_lora(root, row["sha256"], base.slots, base.bounds)
    header = read_header(weights_path(root, row["sha256"]).resolve(), base.bounds).metadata
    return ExportSource(
        lora=lora,
        metadata=_provenance(row["sha256"], row["layout"])
        | {TITLE: row["id"]}
        | _header_fields(header)
        | _index_fields(row),
        left_out=WARNINGS["ignored-keys"] if "ignored-keys" in row["warnings"] else "",
    )


def _header_fields(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of a source's header."""
    fields = (field for field in DESCRIPTION if field.startswith("modelspec."))
    texts = {field: public_text(metadata.get(field, "")) for field in fields}
    return {field: text for field, text in texts.items() if text} | _trigger(
        read_facts(metadata).trigger_words
    )


def _find_row(root: Path | None, sha256: str) -> Row | None:
    """Return the row of a file in the served index; None without a project, an index or the file in it."""
    if root is None:
        return None
    try:
        rows = open_index(root).rows
    except MissingArtifact:
        return None
    positions = AdapterNames.of_index(rows.columns).find_all(sha256)
    return rows[positions[0]] if positions else None


def _index_fields(row: Row | None) -> dict[str, str]:
    """Return what the index knows about the origin of an adapter."""
    if row is None:
        return {}
    license = {LICENSE: row["license"]} if row["license"] else {}
    source = full_name(row["hub"], row["id"], row["file"])
    return {"autolora.source": source} | license | _trigger(row["trigger_words"])


def _provenance(sha256: str, layout: str) -> dict[str, str]:
    return {
        "format": "pt",
        "autolora.version": version("autolora"),
        "autolora.source_sha256": sha256,
        "autolora.source_layout": layout,
    }


def _trigger(words: Sequence[str]) -> dict[str, str]:
    return {TRIGGER: ", ".join(words)} if words else {}
