from autolora.errors import AutoLoraError
from autolora.generation import GeneratedImage, Generator, generate, read_provenance, save_image
from autolora.index.served import release
from autolora.params import Params
from autolora.params import load as load_params
from autolora.reasons import Reasons, explain
from autolora.records import Hit
from autolora.retrieval import Retriever, open_retriever

__version__: str
__all__ = [
    "AutoLoraError",
    "GeneratedImage",
    "Generator",
    "Hit",
    "Params",
    "Reasons",
    "Retriever",
    "__version__",
    "explain",
    "generate",
    "load_params",
    "open_retriever",
    "read_provenance",
    "release",
    "save_image",
]
