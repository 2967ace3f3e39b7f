"""Drawings on disk: data/drawings/drawings.jsonl, one row per image that an adapter without renderings has drawn.

The images are in the pool, among the renderings, named by `Drawing.image`: their bytes differ between processors, so
what they were drawn by names them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.records import ListedRendering, PooledRendering
from autolora.storage.files import Row, read_rows
from autolora.storage.hashes import hash_value

NUM_ALONE = 2
"""Number of drawings of an adapter, the first ones, whose prompt is its word alone."""
URL = "drawing:"
"""what the URL of a drawing begins with in the dataset; the number follows"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """One line of data/drawings/drawings.jsonl: an image that the base model drew with one adapter."""

    adapter: str
    """sha256 of the file"""
    recipe: str
    """digest of what all drawings of an adapter share: base model, precision, size, steps, prompts and seeds"""
    number: int
    """from 0"""
    prompt: str
    """as it was drawn, with the trigger word"""
    seed: int
    width: int
    """px"""
    height: int
    day: str
    """YYYY-MM-DD, on which it was drawn; it does not name the image"""

    @property
    def image(self) -> str:
        """The name of the image in the pool, in the form of a sha256: the hash of what it was drawn by."""
        return hash_value(["drawing", self.adapter, self.recipe, self.number, self.prompt, self.seed])

    @property
    def url(self) -> str:
        """What stands for a URL in the dataset."""
        return f"{URL}{self.number}"

    @property
    def pooled(self) -> PooledRendering:
        """The image in the pool."""
        return PooledRendering(key=self.image, sha256=self.image, width=self.width, height=self.height)

    @property
    def listed(self) -> ListedRendering:
        """The image in the form of a rendering that a hub lists."""
        return ListedRendering(url=self.url, sha256=self.image, prompt=self.prompt)

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self)


def is_drawing(url: str) -> bool:
    """Return whether the URL of an image in the dataset is that of a drawing."""
    return url.startswith(URL)


def drawings_path(root: Path) -> Path:
    """Return the path of the table."""
    return root / "data" / "drawings" / "drawings.jsonl"


def read_drawings(root: Path) -> dict[str, tuple[Drawing, ...]]:
    """Return adapter -> its drawings in the order of their numbers: those of the recipe that was used last."""
    groups: dict[tuple[str, str], dict[int, Drawing]] = {}
    last: dict[str, str] = {}
    for row in read_rows(drawings_path(root)):
        drawing = Drawing(**row)
        groups.setdefault((drawing.adapter, drawing.recipe), {})[drawing.number] = drawing
        last[drawing.adapter] = drawing.recipe
    return {
        adapter: tuple(row for _, row in sorted(groups[adapter, recipe].items()))
        for adapter, recipe in last.items()
    }
