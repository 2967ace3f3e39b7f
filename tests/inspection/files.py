"""LoRA files for inspections, for a tiny base model whose pipeline has only the transformer's config."""

import json
from pathlib import Path

from safetensors.torch import load_file

from autolora.inspection.base_model import BaseModel
from tests.lora.writing import BOUNDS, CONFIG, draw_lora, kohya, peft, write

BASE = BaseModel(name="tiny", transformer=CONFIG, bounds=BOUNDS)


def write_folder(folder: Path) -> Path:
    """Write a folder of files: good ones, an exact copy, a rescaled one in another layout, and broken ones."""
    (folder / "sub").mkdir(parents=True)
    cat = write(folder / "cat.safetensors", peft(draw_lora(1)))
    (folder / "sub" / "copy.safetensors").write_bytes(cat.read_bytes())
    write(folder / "dog.safetensors", peft(draw_lora(2)))
    halved = {key: tensor / 2 if "up" in key else tensor for key, tensor in kohya(draw_lora(1)).items()}
    write(folder / "zz halved.safetensors", halved)
    (folder / "broken.safetensors").write_bytes(cat.read_bytes()[:-100])
    (folder / "pickle.safetensors").write_bytes(b"\x80\x02}q\x00." + b"0" * 100)
    (folder / "away.safetensors").symlink_to("/etc/hosts")
    (folder / "notes.txt").write_text("not weights")
    return folder


def write_pipeline(folder: Path, **changes: int) -> Path:
    """Write the config of the tiny base model's transformer, with some changes, as a pipeline has it."""
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def rewrite(path: Path, metadata: dict[str, str]) -> Path:
    """Write a file again with another header."""
    return write(path, load_file(path), metadata)
