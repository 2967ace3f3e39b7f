"""Conversion of a CLIP tokenizer, by transformers, to the file that searches read (autolora.text_encoder.clip).

transformers reads every layout of a tokenizer's folder, but takes longer to import than a search. So it converts a
folder once, to the format of `tokenizers`.
"""

from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.extras import libraries_for

FILE = "tokenizer.json"
LAYOUTS = ((FILE,), ("vocab.json", "merges.txt"))
"""files of a folder, without which transformers returns a tokenizer that knows no word"""


def convert_tokenizer(folder: Path, max_tokens: int) -> str:
    """Return the content of tokenizer.json for the CLIP tokenizer in a folder of any layout that transformers reads.

    Texts are padded and cut to `max_tokens`, or to the tokenizer's own limit if that is lower. Raises MissingArtifact
    if the folder is missing or damaged, MissingLibrary without transformers.
    """
    with libraries_for(f"the tokenizer in {folder}, which no stage has converted yet,"):
        from transformers import CLIPTokenizer
    try:
        if not any(all((folder / name).is_file() for name in layout) for layout in LAYOUTS):
            raise FileNotFoundError("it has neither tokenizer.json nor vocab.json with merges.txt")
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        length = min(max_tokens, int(tokenizer.model_max_length))
        tokenizer("", padding="max_length", max_length=length, truncation=True)  # sets both in the backend
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # the only class that `tokenizers` raises for damaged files
        raise MissingArtifact(
            f"cannot load the CLIP tokenizer in {folder}: {error}; build or download it again"
        ) from error
