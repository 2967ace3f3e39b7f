"""How much there is to do: adapters, images and captions, and their sizes."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from autolora.catalog.store import read_all_or_empty
from autolora.drawings.recipe import PROMPTS
from autolora.errors import ParamsError
from autolora.params import Params
from autolora.pool import store as pool


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The counts and mean sizes that a plan is made for."""

    adapters: int
    nights: int
    """until crawl.max_new_files has admitted all adapters"""
    pooled: int  # adapters that the project has already
    training_adapters: int
    """rounded down, since the split is drawn by chance"""
    drawing: int
    """adapters without renderings, which draw some of themselves"""
    images: int
    """with what they draw"""
    image_px: float
    file_bytes: float  # of an adapter
    captions: int


def make_workload(
    params: Params, root: Path | None, file_bytes: float, adapters: int | None, *, own_files: bool = False
) -> Workload:
    """Return the workload; sizes and what is not given are those of the catalog in `root`, or of params.yaml.

    file_bytes: of an adapter, if no catalog says it. own_files: they draw if asked to (`autolora index --draw`).
    Raises ParamsError if no number of adapters is known.
    """
    rules, shares = params.crawl, params.dataset
    listings = [listing for listing in read_all_or_empty(root) if listing.is_active] if root else []
    adapters = adapters or len(listings) or rules.newest or rules.max_new_files
    if not adapters:
        raise ParamsError(
            "there is no catalog yet, and neither crawl.newest nor crawl.max_new_files is set, so the number of "
            "adapters is unknown: give it (`autolora plan --adapters 1000`)"
        )
    renderings = fmean([len(listing.renderings) for listing in listings] or [rules.max_renderings])
    draws = params.captions.engine is not None and (own_files or params.drawings.per_day != 0)
    bare = fmean([not listing.renderings for listing in listings] or [0])
    drawing = round(adapters * bare * params.drawings.share) if draws else 0
    images = round(adapters * renderings) + drawing * len(PROMPTS)
    has_pool = root is not None and pool.table_path(root, "renderings").exists()
    pixels = [row.width * row.height for row in pool.renderings(root).values()] if root and has_pool else []
    share = 1 - shares.test_share - shares.validation_share
    lengths = len(asdict(params.captions.instructions)) if params.captions.engine else 0
    return Workload(
        adapters=adapters,
        nights=math.ceil(
            adapters / (rules.max_new_files * len(rules.hubs) if rules.max_new_files else adapters)
        ),
        pooled=len(pool.adapters(root)) if root and has_pool else 0,
        training_adapters=math.floor(round(adapters * share, 9)),  # 100 × (1 - .34 - .1) is 56
        drawing=drawing,
        images=images,
        image_px=fmean(pixels or [params.generation.width * params.generation.height]),
        file_bytes=fmean([listing.size for listing in listings if listing.size] or [file_bytes]),
        captions=images * lengths,
    )
