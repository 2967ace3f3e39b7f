"""A repository whose pool has as many adapters as a hub: sparse files of weights, real sketches, rows and catalog.

It has git, DVC and the stages crawl and pool; the hub is a folder. There are as many files as on a hub, but small ones.
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
from autolora.catalog.store import read_active
from autolora.crawl import stage as crawl
from autolora.hubs.folder.client import Folder
from autolora.lora.sketch import Sketch
from autolora.lora.slots import slots
from autolora.params import Params, load
from autolora.pool import store as pool
from autolora.pool.recipe import ReadRecipe
from autolora.pool.sketch_packs import open_path, serialize_sketch
from autolora.pool.stage import PoolSync
from autolora.records import ACCEPTED, Adapter, PooledRendering
from autolora.stages import STAGES
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_value

PROJECT = Path(__file__).parents[1]
SKETCH_SIZE = 8
"""rows and columns; real sketches have 32"""
CONFIGURATION = (
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
)
SPARSE_BYTES = 1 << 16
"""size of a file of weights, of which one block occupies disk space"""


@dataclass(frozen=True, slots=True)
class BigPool:
    """The repository and its hub."""

    root: Path
    renderings: int
    """of each adapter"""

    @property
    def hub(self) -> Path:
        """Return the folder that is the hub."""
        return self.root / "hub"

    @property
    def params(self) -> Params:
        """Return the parameters of its params.yaml."""
        return load(self.root / "params.yaml")

    def build(self) -> None:
        """Create the repository with an empty hub and no pool."""
        self.hub.mkdir(parents=True)
        values = yaml.safe_load((PROJECT / "params.yaml").read_text())
        values["models"]["pipeline"] = str(PROJECT / values["models"]["pipeline"])
        values["hubs"]["folder"]["path"] = "hub"
        values["crawl"] |= {"hubs": ["folder"], "max_renderings": self.renderings}
        values["pool"]["sketch_size"] = SKETCH_SIZE
        (self.root / "params.yaml").write_text(yaml.safe_dump(values))
        stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
        code = {"digests/code/pool.json", "digests/code/checked.json"}
        stages["pool"]["deps"] = [path for path in stages["pool"]["deps"] if path not in code]
        kept = {name: stages[name] for name in ("crawl", "pool")}
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(command, cwd=self.root, check=True, capture_output=True)
        digests = [f"digests/code/{stage}.json" for stage in STAGES]
        for name in (*CONFIGURATION, *digests):
            _write(self.root / name, (PROJECT / name).read_bytes())
        for name in (".gitignore", ".dvcignore"):
            with (self.root / name).open("a") as stream:
                stream.write("/hub\n")

    def add_to_hub(self, start: int, stop: int, real: bool) -> None:
        """Add adapters start..stop to the hub: real LoRAs, or sparse files that hold only their number."""
        generator = torch.Generator().manual_seed(start)
        for number in range(start, stop):
            path = self.hub / f"{number:06}/lora.safetensors"
            if real:
                path.parent.mkdir()
                save_file(self._draw_lora(generator), path)
            else:
                _write(path, str(number).encode())
                os.truncate(path, SPARSE_BYTES)
            for rendering in range(self.renderings):
                _write(path.with_suffix("") / f"{rendering}.png", _png(number, rendering))

    def crawl(self) -> None:
        """Update the catalog."""
        rules, today = self.params.crawl, datetime.now(UTC).date()
        scan = crawl.scan_hub(self.root, Folder(self.hub), rules, today)
        crawl.write(self.root, crawl.reconcile(self.root, [scan], rules, today))

    def fill(self) -> None:
        """Create the pool of the catalog as if every sparse file were an accepted LoRA.

        The last steps are those of the stage: compare the adapters with each other and write all tables.
        """
        recipe = ReadRecipe.for_base_model(models.transformer_config(self.params.models), self.params.pool)
        adapters, renderings = [], []
        for listing, content in zip(read_active(self.root), _sketches(len(recipe.slots)), strict=False):
            assert listing.sha256 is not None
            weights = pool.weights_path(self.root, listing.sha256)
            weights.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.hub / f"{listing.id}.safetensors", weights)
            _write(open_path(self.root, listing.sha256), content)
            for listed in listing.renderings:
                sha256 = hash_value(listed.url)
                _write(pool.rendering_path(self.root, sha256), sha256.encode())
                renderings.append(PooledRendering(key=listed.key, sha256=sha256, width=1, height=1))
            adapters.append(_accepted(listing.sha256, recipe))
        write_rows(pool.table_path(self.root, "adapters"), (row.to_row() for row in adapters))
        write_rows(pool.table_path(self.root, "renderings"), map(asdict, renderings))
        sync = PoolSync(self.root, recipe)
        sync.compare_new_adapters()
        sync.finish(datetime.now(UTC).date())

    def _draw_lora(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the tensors of a random LoRA of rank 1 in all slots."""
        tensors = {}
        for slot in slots(models.transformer_config(self.params.models)):
            tensors[f"transformer.{slot.name}.lora_A.weight"] = torch.randn(1, slot.d_in, generator=generator)
            tensors[f"transformer.{slot.name}.lora_B.weight"] = torch.randn(
                slot.d_out, 1, generator=generator
            )
        return tensors


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _png(number: int, rendering: int) -> bytes:
    """Return a PNG that no other adapter has."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8 + rendering), tuple(number.to_bytes(3))).save(buffer, "PNG")
    return buffer.getvalue()


def _sketches(num_slots: int) -> Iterator[bytes]:
    """Yield random sketches as the pool stores them."""
    generator = np.random.default_rng(0)
    while True:
        values = torch.from_numpy(
            generator.standard_normal((num_slots, SKETCH_SIZE, SKETCH_SIZE), dtype=np.float32)
        )
        yield serialize_sketch(Sketch(values, torch.ones(num_slots, dtype=torch.bool)))


def _accepted(sha256: str, recipe: ReadRecipe) -> Adapter:
    return Adapter(
        key=sha256, sha256=sha256, size=SPARSE_BYTES, recipe=recipe.digest, verdict=ACCEPTED, reason="", layout="peft",
        num_slots=len(recipe.slots), rank_max=16, norm=1.0, dtype="bfloat16", keys_used=988, keys_seen=988,
        ignored_keys=(),
    )  # fmt: skip
