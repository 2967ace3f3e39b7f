"""AutoLoRA: retrieve FLUX LoRAs by their weights and fuse them through learned gates.

The names in `__all__` are the public Python interface. A name is imported on first use, so that `import autolora`
takes no time and needs no optional dependency. Type checkers read __init__.pyi.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LOCATIONS = {
    "AutoLoraError": ("autolora.errors", "AutoLoraError"),
    "Collection": ("autolora.generation.collection", "Collection"),
    "GeneratedImage": ("autolora.generation.images", "GeneratedImage"),
    "Generator": ("autolora.generation.images", "Generator"),
    "Hit": ("autolora.records", "Hit"),
    "Params": ("autolora.params", "Params"),
    "Reasons": ("autolora.search.reasons", "Reasons"),
    "add_trigger_words": ("autolora.generation.images", "add_trigger_words"),
    "generate": ("autolora.generation.images", "generate"),
    "load_params": ("autolora.params", "load"),
    "open": ("autolora.generation.collection", "open_collection"),
    "read_provenance": ("autolora.generation.provenance", "read_provenance"),
    "release": ("autolora.index.served", "release"),
    "save_image": ("autolora.generation.images", "save_image"),
}
"""public name -> (module, name in that module)"""

__all__ = ["__version__", *_LOCATIONS]


def __getattr__(name: str) -> Any:
    if name not in _LOCATIONS:
        raise AttributeError(f"module 'autolora' has no attribute '{name}'")
    from autolora.extras import libraries_for

    module, attribute = _LOCATIONS[name]
    with libraries_for(f"autolora.{name}"):
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
