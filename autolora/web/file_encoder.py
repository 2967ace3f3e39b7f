"""Reads an uploaded LoRA file with the encoder that the index was built with. Imports torch on first use."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.errors import MismatchError
from autolora.index.copies import UNREAD, Index
from autolora.index.encoder_check import check_encoder
from autolora.params import PoolParams
from autolora.storage.files import raising_reading_failed
from autolora.storage.hashes import hash_file
from autolora.web.uploads import UploadedLora

if TYPE_CHECKING:
    from autolora.encoder.model import Encoder
    from autolora.lora.read import Reading
    from autolora.storage.arrays import Float32Array


class FileEncoder:
    """The project's encoder, which is loaded when the first file is read."""

    def __init__(self, root: Path, bounds: PoolParams) -> None:
        """bounds: limits on a file."""
        self._root, self._bounds = root, bounds
        self._reading = threading.Lock()
        self._loaded: tuple[str, Encoder] | None = None

    def read(self, path: Path, name: str, index: Index) -> UploadedLora:
        """Return what an uploaded file contains, with a vector that can be compared with those of an index.

        Raises RefusedFile if it is not a LoRA of the index's base model, MismatchError if the encoder is not
        that of the index, ReadingFailed if it cannot be read for another reason.
        """
        with self._reading:
            encoder = self._encoder_of(index)
            with raising_reading_failed(f"the file {name!r}"):
                reading, vector = self._embed(path, encoder)
        return UploadedLora(
            name=name,
            sha256=hash_file(path),
            vector=vector,
            layout=reading.layout,
            rank=max(update.rank for update in reading.updates.values()),
            num_slots=len(reading.updates),
            warnings=reading.warnings,
        )

    def _embed(self, path: Path, encoder: "Encoder") -> "tuple[Reading, Float32Array]":
        """Return the content of a file, and its vector (d,)."""
        import torch

        from autolora.index.embedding import embed
        from autolora.lora.read import read, read_and_sketch
        from autolora.lora.sketch import SketchSpec

        config = encoder.config
        if config.variant.probe == "sketch":
            assert config.sketch_size is not None
            spec = SketchSpec(config.sketch_size)
            reading, sketch = read_and_sketch(path, config.canonical, self._bounds, spec)
            batch = config.sketch_to_batch(sketch)
        else:
            reading = read(path, config.canonical, self._bounds)
            batch = config.lora_to_batch(reading.lora)
        return reading, embed(encoder, iter([batch]), torch.device("cpu"))[0]

    def _encoder_of(self, index: Index) -> "Encoder":
        from autolora.encoder import store

        if not index.has_weights:
            raise MismatchError(f"a file cannot be compared with the weights of the adapters: {UNREAD}")
        weights = check_encoder(self._root, index)
        if self._loaded is None or self._loaded[0] != weights:
            self._loaded = weights, store.load_encoder(store.folder(self._root))
        return self._loaded[1]
