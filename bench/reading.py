"""Reading and sketching a LoRA file against hashing the same file."""

import json
from pathlib import Path

from autolora import models
from autolora.files import hash_file
from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, sketch
from autolora.params import load
from autolora.slots import slots
from bench.timing import paired

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print milliseconds a file, and the ratio to its sha256."""
    params = load(ROOT / "params.yaml")
    known = slots(models.transformer_config(params.models))
    spec = SketchSpec(params.pool.sketch_size)
    path = largest_adapter()

    def ours() -> object:
        return sketch(read(path, known, params.pool).lora, known, spec)

    ours()  # the sketch's random matrices are made once a process
    seconds, peer, ratio = paired(ours, lambda: hash_file(path), 20)
    size = path.stat().st_size / 1e3
    print(
        f"read and sketch {size:.0f} kB: {seconds * 1e3:.1f} ms; "
        f"sha256 alone {peer * 1e3:.2f} ms; ratio {ratio:.0f}"
    )


def largest_adapter() -> Path:
    """Return the largest good adapter of the playground's pool."""
    themes = json.loads((ROOT / "playground/themes.json").read_text())
    files = [
        path
        for row in themes.values()
        for path in (ROOT / "playground/pool" / row["repo"]).glob("*.safetensors")
    ]
    return max(files, key=lambda path: path.stat().st_size)


if __name__ == "__main__":
    main()
