"""Use an encoder or gates of the paper's authors: convert FILE to the format of this project.

    python -m studies.released encoder FILE     # writes data/encoder and digests/encoder.json
    python -m studies.released gates FILE       # writes data/fusion and digests/fusion.json

Run it in the root of a project whose models.pipeline is the base model of the checkpoint, for released files
FLUX.1-dev: the file stores neither a base model nor a text encoder. The number of attention heads, the causal mask, and
how missing slots and alpha are handled are those of the preset; the rank of the global LoRA is 4 for gates with all
three terms and 2 for others. An encoder reads full weights: `index` opens each LoRA file of the pool instead of its
sketch.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from autolora import models
from autolora.encoder import store as encoders
from autolora.errors import exit_on_error
from autolora.fusion import store as fusion
from autolora.lora.slots import slots
from autolora.params import Params, load
from autolora.storage.hashes import hash_file
from studies.released.encoder import load_for
from studies.released.gates import load_released
from studies.released.presets import ENCODER


def convert_encoder(root: Path, params: Params, file: Path, heads: int) -> None:
    """Write data/encoder and its digest. Raises as `load_for`."""
    text_encoder = models.load_text_encoder(params.models)
    variant = replace(ENCODER, heads=heads)
    encoder = load_for(file, variant, models.transformer_config(params.models), text_encoder)
    encoders.save_encoder(encoders.folder(root), encoder)
    encoders.write_encoder_digest(root, encoder, {"file": hash_file(file)}, adapters=0, texts=0)
    print("run `dvc commit --force encoder`, so that DVC keeps this encoder, and then `dvc repro index`")


def convert_gates(root: Path, params: Params, file: Path) -> None:
    """Write data/fusion and its digest. Raises as `load_released`."""
    transformer = models.transformer_config(params.models)
    gates = load_released(file, transformer)
    fusion.save(gates, slots(transformer), fusion.folder(root))
    fusion.write_fusion_digest(root, gates, {"file": hash_file(file)}, adapters=0, left_out=0)
    print("run `dvc commit --force fusion`, so that DVC keeps these gates")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.released", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=("encoder", "gates"))
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file of the authors' code")
    parser.add_argument("--heads", type=int, default=ENCODER.heads, help="attention heads of the encoder")
    options = parser.parse_args(arguments)
    root, params = Path.cwd(), load("params.yaml")
    models.set_threads(params.models)
    if options.kind == "encoder":
        convert_encoder(root, params, options.file, options.heads)
    else:
        convert_gates(root, params, options.file)


if __name__ == "__main__":
    with exit_on_error():
        main()
