"""A small hub for tests: a few repositories with LoRA files for a tiny FLUX, images, model cards, and a schedule."""

import io
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from autolora.params import CrawlParams, PoolParams
from autolora.pool.recipe import ReadRecipe
from tests.lora.writing import SLOTS, draw_lora, peft, write

TAGS = ("lora", "base_model:adapter:black-forest-labs/FLUX.1-dev")
RULES = CrawlParams(
    hubs=("huggingface",), filters=TAGS, searches=(), bases=("flux.1-dev",), licenses=(),
    max_nsfw_level="explicit", persons=True, minors=False, min_downloads=0, max_file_mb=1, newest=None,
    max_renderings=2, overlap_h=24.0, full_scan_every_days=1, max_withdrawn_share=0.2,
    max_new_files=None, min_free_gb=None,
)  # fmt: skip
BOUNDS = PoolParams(
    max_header_mb=1, max_rank=16, min_known_keys=1.0, max_image_mb=1, max_image_px=10_000, sketch_size=8,
    near_duplicate_cosine=0.99,
)  # fmt: skip
RECIPE = ReadRecipe(slots=SLOTS, bounds=BOUNDS)
REPOS = {"ann/ink": 1, "ann/neon": 1, "bob/cat": 1, "eve/pickle": 1, "bob/late": 2, "cat/later": 2}
NUM_IMAGES = 3


def make_pool(folder: Path) -> Path:
    """Write the hub's folder: four repositories on day 1, of which one is not a LoRA, and two more on day 2."""
    rows = []
    for seed, (repo, day) in enumerate(REPOS.items()):
        make_repo(folder / repo, seed)
        created_at = f"2026-01-0{day}T0{seed}:00:00.000Z"
        rows.append({"repo": repo, "day": day, "created_at": created_at, "downloads": 7})
    (folder / "eve/pickle/lora.safetensors").write_bytes(b"\x80\x02}q\x00." + b"0" * 100)
    (folder / "schedule.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def add_to_schedule(pool: Path, repo: str, **fields: Any) -> None:
    """Add fields to a repository's line in the schedule."""
    path = pool / "schedule.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps(row | fields if row["repo"] == repo else row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def make_repo(folder: Path, seed: int) -> None:
    """Write one repository: a LoRA, images, and a model card that refers to them."""
    (folder / "images").mkdir(parents=True)
    write(folder / "lora.safetensors", peft(draw_lora(seed)))
    for number in range(NUM_IMAGES):
        (folder / f"images/{number}.png").write_bytes(encoded_image(seed * 10 + number))
    card = {
        "license": "mit",
        "base_model": "black-forest-labs/FLUX.1-dev",
        "tags": ["lora"],
        "instance_prompt": f"word{seed}",
        "widget": [
            {"text": f"a cat, word{seed}", "output": {"url": f"images/{n}.png"}} for n in range(NUM_IMAGES)
        ],
    }
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n# A LoRA\n")


def encoded_image(shade: int, size: tuple[int, int] = (16, 12), format: str = "PNG") -> bytes:
    """Return the bytes of an image file of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 100, 200)).save(buffer, format)
    return buffer.getvalue()
