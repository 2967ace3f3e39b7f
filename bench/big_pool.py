"""A repository whose pool has the size of a hub: sparse files of weights, real sketches, rows and catalog.

It has git, DVC and the stages crawl and pool; the hub is a folder. Its files are as many as a hub's, not as large.
"""

import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from autolora import models
from autolora.catalog.store import catalog
from autolora.crawl import stage as crawl
from autolora.hubs.folder.client import Folder
from autolora.lora.sketch import Sketch
from autolora.params import Params, load
from autolora.pool import recipe
from autolora.pool import store as pool
from autolora.pool.stage import Stock
from autolora.records import ACCEPTED, Adapter, PooledRendering
from autolora.slots import slots
from autolora.storage.files import hash_value, write_rows

PROJECT = Path(__file__).parents[1]
SKETCH = 8
"""rows and columns: real sketches have 32"""
SPARSE = 1 << 16
"""bytes of a file of weights, of which one block is on the disk"""
FOLDERS = [f"data/pool/{name}" for name in pool.FOLDERS]
TABLES = [f"data/pool/{name}.jsonl" for name in pool.TRACKED]
LAYOUTS: dict[str, list[str | dict[str, dict[str, bool]]]] = {
    "tables": [
        *({name: {"persist": True}} for name in TABLES),
        {"data/pool/files.json": {"cache": False, "persist": True}},
    ],
    "folder": [{"data/pool": {"persist": True}}],
    "shards": [
        *({name: {"persist": True}} for name in TABLES),
        *({f"{folder}/{shard:02x}": {"persist": True}} for folder in FOLDERS for shard in range(256)),
    ],
    "uncached": [
        *({name: {"persist": True}} for name in TABLES),
        *({folder: {"persist": True, "cache": False}} for folder in FOLDERS),
    ],
}
"""what of the pool is DVC's: `tables` is how it is; the others are what else was tried"""


@dataclass(frozen=True, slots=True)
class BigPool:
    """The repository."""

    root: Path
    renderings: int
    """of each adapter"""

    @property
    def shelf(self) -> Path:
        """The folder that is its hub."""
        return self.root / "shelf"

    @property
    def params(self) -> Params:
        """Its params."""
        return load(self.root / "params.yaml")

    def build(self, layout: str) -> None:
        """Make the repository: no pool yet, an empty hub."""
        self.shelf.mkdir(parents=True)
        values = yaml.safe_load((PROJECT / "params.yaml").read_text())
        values["models"]["pipeline"] = str(PROJECT / values["models"]["pipeline"])
        values["hubs"]["folder"]["path"] = "shelf"
        values["crawl"] |= {"hubs": ["folder"], "max_renderings": self.renderings}
        values["pool"]["sketch_size"] = SKETCH
        (self.root / "params.yaml").write_text(yaml.safe_dump(values))
        outs = [*LAYOUTS[layout], {"digests/pool.json": {"cache": False, "persist": True}}]
        lock = {"data/catalog.jsonl": {"cache": False, "persist": True}}
        stages = {
            "crawl": {"cmd": "python -m flows.crawl", "params": ["crawl"], "outs": [lock]},
            "pool": {
                "cmd": "python -m flows.pool", "params": ["pool"], "deps": ["data/catalog.jsonl"], "outs": outs
            },
        }  # fmt: skip
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(command, cwd=self.root, check=True, capture_output=True)
        (self.root / ".gitignore").write_text("/data/pool\n/shelf\n/cache\n")
        ignored = ["/shelf", *(f"/{folder}" for folder in FOLDERS if layout == "tables")]
        (self.root / ".dvcignore").write_text("".join(f"{line}\n" for line in ignored))

    def list(self, start: int, stop: int, whole: bool) -> None:
        """Put adapters on the hub; whole: real LoRAs, else sparse files that hold nothing but their number."""
        drawn = torch.Generator().manual_seed(start)
        for number in range(start, stop):
            path = self.shelf / f"{number:06}/lora.safetensors"
            if whole:
                path.parent.mkdir()
                save_file(self._draw(drawn), path)
            else:
                _place(path, str(number).encode())
                os.truncate(path, SPARSE)
            for rendering in range(self.renderings):
                _place(path.with_suffix("") / f"{rendering}.png", _picture(number, rendering))

    def crawl(self) -> None:
        """Bring the catalog up to date."""
        rules, today = self.params.crawl, datetime.now(UTC).date()
        looked = crawl.look(self.root, Folder(self.shelf), rules, today)
        crawl.write(self.root, crawl.plan(self.root, [looked], rules, today))

    def fill(self) -> None:
        """Make the pool that the catalog wants, as if every sparse file were a LoRA that was accepted.

        Ends as the stage does, which compares them with each other and writes all tables.
        """
        terms = recipe.terms(models.transformer_config(self.params.models), self.params.pool)
        rows, pictures = [], []
        for listing, content in zip(catalog(self.root), _sketches(len(terms.slots)), strict=False):
            assert listing.sha256 is not None
            weights = pool.weights_path(self.root, listing.sha256)
            weights.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.shelf / f"{listing.id}.safetensors", weights)
            _place(pool.sketch_path(self.root, listing.sha256), content)
            for listed in listing.renderings:
                sha256 = hash_value(listed.url)
                _place(pool.rendering_path(self.root, sha256), sha256.encode())
                pictures.append(PooledRendering(key=listed.key, sha256=sha256, width=1, height=1))
            rows.append(_accepted(listing.sha256, terms))
        write_rows(pool.table_path(self.root, "adapters"), (row.to_row() for row in rows))
        write_rows(pool.table_path(self.root, "renderings"), map(asdict, pictures))
        stock = Stock(self.root, terms)
        stock.compare_newcomers()
        stock.finish(datetime.now(UTC).date())

    def _draw(self, drawn: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw a LoRA of rank 1 on all slots."""
        tensors = {}
        for slot in slots(models.transformer_config(self.params.models)):
            tensors[f"transformer.{slot.name}.lora_A.weight"] = torch.randn(1, slot.d_in, generator=drawn)
            tensors[f"transformer.{slot.name}.lora_B.weight"] = torch.randn(slot.d_out, 1, generator=drawn)
        return tensors


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _picture(number: int, rendering: int) -> bytes:
    """Return a PNG that no other adapter shows."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8 + rendering), tuple(number.to_bytes(3))).save(buffer, "PNG")
    return buffer.getvalue()


def _sketches(num_slots: int) -> Iterator[bytes]:
    """Yield random sketches as the pool keeps them."""
    drawn = np.random.default_rng(0)
    while True:
        values = torch.from_numpy(drawn.standard_normal((num_slots, SKETCH, SKETCH), dtype=np.float32))
        yield pool.pack(Sketch(values, torch.ones(num_slots, dtype=torch.bool)))


def _accepted(sha256: str, terms: recipe.Terms) -> Adapter:
    return Adapter(
        key=sha256, sha256=sha256, size=SPARSE, recipe=terms.recipe, verdict=ACCEPTED, reason="", layout="peft",
        num_slots=len(terms.slots), rank_max=16, norm=1.0, dtype="bfloat16", keys_used=988, keys_seen=988,
        set_aside=(),
    )  # fmt: skip
