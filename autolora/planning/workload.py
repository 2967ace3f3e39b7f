"""How much there is to do: adapters, images and captions, and their sizes, from params.yaml and an existing catalog."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from autolora.catalog.store import read_all_or_empty
from autolora.errors import ParamsError
from autolora.lora.slots import Slot
from autolora.params import Params
from autolora.pool import store as pool
from autolora.records import Listing

MIN_TRAINING_ADAPTERS = 2
"""of the gates"""
DIGITS = 9
"""to which a product of shares is rounded first: 100 × (1 - .34 - .1) is 56"""
VALUE_BYTES = 2
"""bytes of a number in a LoRA file or a stored sketch, in 16 bits"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The counts and mean sizes that a plan is made for."""

    adapters: int
    listed: int
    """models that the hubs list"""
    per_day: int
    """new adapters that a night admits"""
    images_per_adapter: float
    file_bytes: float
    """of an adapter's weights"""
    rank: int
    """of an adapter in all slots, from the size of its file"""
    image_px: float
    lengths: int
    """captions per image"""
    train_share: float
    from_catalog: bool
    """whether the sizes are means of the catalog and the pool, instead of assumptions"""

    @property
    def images(self) -> int:
        """The number of images."""
        return round(self.adapters * self.images_per_adapter)

    @property
    def days(self) -> int:
        """The number of nights until all adapters are admitted."""
        return math.ceil(self.adapters / self.per_day)

    @property
    def captions(self) -> int:
        """The number of captions."""
        return self.images * self.lengths

    @property
    def training_adapters(self) -> int:
        """The number of adapters that the models are trained on; rounded down, since the split is drawn by chance."""
        return math.floor(round(self.adapters * self.train_share, DIGITS))

    @property
    def can_train_gates(self) -> bool:
        """Whether a step of that training finds a target and an interfering adapter."""
        return self.training_adapters >= MIN_TRAINING_ADAPTERS


def make_workload(
    params: Params,
    slots: Sequence[Slot],
    rank: float,
    root: Path | None,
    adapters: int | None,
    images_per_adapter: float | None,
    listed: int | None = None,
) -> Workload:
    """Return the workload. Numbers that are not given are those of the catalog in `root`, or of params.yaml.

    rank: assumed if there is no catalog. root: of the project that the params are of; None if they are of none.
    listed: models that the hubs list, whether the rules admit them or not.
    Raises ParamsError if neither the number of adapters nor a catalog is given.
    """
    if images_per_adapter is not None and not math.isfinite(images_per_adapter):
        raise ParamsError(f"the number of images per adapter is {images_per_adapter}: give a finite number")
    known = read_all_or_empty(root) if root else []
    listings = [listing for listing in known if listing.is_active]
    adapters = adapters or len(listings) or params.crawl.newest or params.crawl.max_new_files
    if not adapters:
        raise ParamsError(
            "there is no catalog yet, and neither crawl.newest nor crawl.max_new_files is set, so the number of "
            "adapters is unknown: give it (`autolora plan --adapters 1000`)"
        )
    numbers = sum(slot.d_in + slot.d_out for slot in slots)
    file_bytes = _mean_size(listings) or rank * numbers * VALUE_BYTES
    images = (
        fmean(len(listing.renderings) for listing in listings) if listings else params.crawl.max_renderings
    )
    images = images if images_per_adapter is None else images_per_adapter
    lengths = len(asdict(params.captions.instructions)) if params.captions.engine else 0
    return Workload(
        adapters=adapters,
        listed=max(adapters, listed or len({(row.hub, row.id) for row in known})),
        per_day=min(adapters, (params.crawl.max_new_files or adapters) * len(params.crawl.hubs)),
        images_per_adapter=images,
        file_bytes=file_bytes,
        rank=max(1, round(file_bytes / numbers / VALUE_BYTES)),
        image_px=_mean_px(root if listings else None) or params.generation.width * params.generation.height,
        lengths=lengths,
        train_share=1 - params.dataset.test_share - params.dataset.validation_share,
        from_catalog=bool(listings),
    )


def _mean_size(listings: Sequence[Listing]) -> float:
    """Return the mean size of the files whose hub reports it; 0 if none does."""
    sizes = [listing.size for listing in listings if listing.size]
    return fmean(sizes) if sizes else 0.0


def _mean_px(root: Path | None) -> float:
    """Return the mean number of pixels of the pool's images; 0 without any."""
    if root is None or not pool.table_path(root, "renderings").exists():
        return 0.0
    sizes = [rendering.width * rendering.height for rendering in pool.renderings(root).values()]
    return fmean(sizes) if sizes else 0.0
