"""What is exported: a LoRA file, or an adapter of a project's index, with what is known about its origin."""

from collections.abc import Sequence
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
from autolora.lora.read import read
from autolora.lora.verdict import WARNINGS
from autolora.pool.weights import load_lora
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
        return _open_file(path.resolve(), base)
    if root is None:
        raise MissingArtifact(
            f"there is no file {name}, and no project whose index could contain an adapter of this name: give a LoRA "
            f"file or, in a project, {EXPECTED}"
        )
    return _open_adapter(name, root, base)


def _open_file(path: Path, base: BaseModel) -> ExportSource:
    reading = read(path, base.slots, base.bounds)
    facts = read_facts(reading.metadata)
    fields = (field for field in DESCRIPTION if field.startswith("modelspec."))
    texts = {field: public_text(reading.metadata.get(field, "")) for field in fields}
    return ExportSource(
        lora=reading.lora,
        metadata=_provenance(hash_file(path), reading.layout)
        | {field: text for field, text in texts.items() if text}
        | _trigger(facts.trigger_words),
        left_out=", ".join(reading.ignored_keys),
    )


def _open_adapter(name: str, root: Path, base: BaseModel) -> ExportSource:
    rows = open_index(root).rows
    row = rows[AdapterNames.of_index(rows.columns).find_one(name)]
    license = {LICENSE: row["license"]} if row["license"] else {}
    source = full_name(row["hub"], row["id"], row["file"])
    return ExportSource(
        lora=load_lora(root, row["sha256"], base.slots, base.bounds),
        metadata=_provenance(row["sha256"], row["layout"])
        | {"autolora.source": source, TITLE: row["id"]}
        | license
        | _trigger(row["trigger_words"]),
        left_out=WARNINGS["ignored-keys"] if "ignored-keys" in row["warnings"] else "",
    )


def _provenance(sha256: str, layout: str) -> dict[str, str]:
    return {
        "format": "pt",
        "autolora.version": version("autolora"),
        "autolora.source_sha256": sha256,
        "autolora.source_layout": layout,
    }


def _trigger(words: Sequence[str]) -> dict[str, str]:
    return {TRIGGER: ", ".join(words)} if words else {}
