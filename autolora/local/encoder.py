"""The encoder of a project for one's own files: a pretrained one, copied to data/encoder once."""

from pathlib import Path

from autolora.encoder import stage
from autolora.encoder.store import folder
from autolora.errors import ParamsError
from autolora.models import transformer_config
from autolora.params import Params
from autolora.pretrained.config import CONFIG
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_file, hash_value
from autolora.storage.incremental import digest_path
from autolora.text_encoder.clip import load_numpy_text_encoder

INSTALLED = "cache/encoder"
"""file with the hash of what data/encoder was written from"""


def install_encoder(root: Path, params: Params) -> None:
    """Write the pretrained encoder that params.yaml names to data/encoder, unless it is there already.

    Raises ParamsError if it does not name one, and as `encoder.stage.use_pretrained`.
    """
    source = params.encoder.from_
    if source is None:
        raise ParamsError(
            "encoder.from is null: give a pretrained encoder (`autolora index --encoder FOLDER|ID`)"
        )
    transformer = transformer_config(params.models)
    text_encoder = load_numpy_text_encoder(root, params.models)
    origin = [source, _version(source, params), transformer, text_encoder.digest, params.pool.sketch_size]
    installed, expected = root / INSTALLED, hash_value(origin)
    outputs = (installed, digest_path(root, "encoder"), folder(root) / "model.safetensors")
    if all(path.exists() for path in outputs) and installed.read_text() == expected:
        return
    stage.use_pretrained(root, params.encoder, transformer, text_encoder, params.pool)
    write_atomic(installed, expected)


def _version(source: str, params: Params) -> str | None:
    """Return what identifies the files of a pretrained encoder: its config has their hashes, a commit is immutable."""
    config = Path(source).expanduser() / CONFIG
    return hash_file(config) if config.is_file() else params.encoder.from_revision
