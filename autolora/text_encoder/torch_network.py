"""The networks that autolora.text_encoder.bert does not have, through transformers: importing it takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np

from autolora.extras import libraries_for
from autolora.models import loading
from autolora.storage.arrays import Float32Array, Int64Array


class TorchNetwork:
    """From token ids (N, T), of which none is padding, to their last hidden states (N, T, d), float32, on the CPU."""

    def __init__(self, folder: Path, model_type: str) -> None:
        """Load the model in a folder.

        Raises MissingLibrary without torch or transformers, MissingArtifact if the model is damaged, or of a type that
        is unknown to transformers.
        """
        with libraries_for(f"the sentence encoder in {folder}, whose model_type is '{model_type}',"):
            import torch
            from transformers import AutoModel
        with loading(folder):
            model = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        self._model: Any = model.eval().requires_grad_(False)
        self.width = int(model.config.hidden_size)

    def __call__(self, ids: Int64Array) -> Float32Array:
        import torch

        tokens = torch.from_numpy(ids)
        with torch.no_grad():
            states = self._model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        return np.asarray(states.numpy(), dtype=np.float32)
