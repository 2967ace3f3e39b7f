"""A text encoder that encodes each text once."""

from collections.abc import Sequence

import numpy as np

from autolora.encoder.model import TextEncoder
from autolora.storage.arrays import Float32Array


class CachingTextEncoder:
    """Keeps the features of all texts; their last bits depend on the texts that were encoded with them."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder, self.width, self.digest = encoder, encoder.width, encoder.digest
        self.features: dict[str, Float32Array] = {}

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return features (N, d)."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self.features]:
            self.features |= dict(zip(missing, self.encoder.encode(missing), strict=True))
        found = [self.features[text] for text in texts]
        return np.array(found, np.float32).reshape(len(texts), self.width)
