from autolora.errors import AutoLoraError
from autolora.generation.collection import Collection
from autolora.generation.collection import open_collection as open
from autolora.generation.images import GeneratedImage, Generator, add_trigger_words, generate, save_image
from autolora.generation.provenance import read_provenance
from autolora.index.served import release
from autolora.params import Params
from autolora.params import load as load_params
from autolora.records import Hit
from autolora.search.reasons import Reasons

__version__: str
__all__ = [
    "AutoLoraError",
    "Collection",
    "GeneratedImage",
    "Generator",
    "Hit",
    "Params",
    "Reasons",
    "__version__",
    "add_trigger_words",
    "generate",
    "load_params",
    "open",
    "read_provenance",
    "release",
    "save_image",
]
