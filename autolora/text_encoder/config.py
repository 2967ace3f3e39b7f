"""The config of CLIP's text model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autolora.errors import MissingArtifact
from autolora.text_encoder.activations import ACTIVATIONS


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """The fields of config.json that determine the features."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    eos_token_id: int
    layer_norm_eps: float
    hidden_act: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the config in a folder. Raises MissingArtifact if it is missing, damaged or unsupported."""
        path = folder / "config.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            config = cls(
                **{name: _checked(content, name, kind) for name, kind in cls.__annotations__.items()}
            )
            config._check()
        except (OSError, TypeError, ValueError) as error:
            raise MissingArtifact(
                f"cannot load {path}: {error}; build or download the text encoder again, or set another "
                "models.pipeline in params.yaml"
            ) from error
        return config

    def _check(self) -> None:
        """Raise ValueError if the fields contradict each other or have no implementation."""
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is '{self.hidden_act}', expected one of the supported {', '.join(ACTIVATIONS)}"
            )
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, expected a multiple of num_attention_heads, "
                f"{self.num_attention_heads}"
            )


def _checked(content: Any, name: str, kind: type) -> Any:
    """Return a field. Raises ValueError if it is missing, TypeError if its value is not of this type."""
    if not isinstance(content, dict) or name not in content:
        raise ValueError(f"it has no field '{name}'")
    if type(content[name]) is not kind:
        raise TypeError(f"{name} is {content[name]!r}, expected {kind.__name__}")
    return content[name]
