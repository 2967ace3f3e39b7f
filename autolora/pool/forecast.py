"""What the stage `pool` would download after a crawl, computed before anything is written."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from autolora.catalog.sources import ImageSource, group_sources, image_sources
from autolora.crawl.budget import Cost, cost
from autolora.params import CrawlParams
from autolora.pool.evicted import stored_files
from autolora.pool.near_duplicates import should_be_stored
from autolora.pool.tables import PoolTables
from autolora.records import Adapter, Listing


def forecast(root: Path, rows: Iterable[Listing], rules: CrawlParams) -> dict[str, Cost]:
    """Return hub -> cost of the files and images that are missing from the pool, whether new to the catalog or not.

    Refused files are not downloaded again. A file that was not read yet is assumed to be accepted, so that all its
    images count. A file on several hubs counts for the hub of its primary listing.
    """
    active = [row for row in rows if row.is_active]
    tables, weights = PoolTables(root), stored_files(root, "weights")
    costs: defaultdict[str, Cost] = defaultdict(Cost)
    for key, sources in group_sources(active).items():
        if _needs_download(sources.primary, tables.adapters.get(key), weights):
            costs[sources.primary.hub] += replace(cost(sources.primary, rules, ()), renderings=0)
    for image in _missing_images(tables, active):
        costs[image.hub] += Cost(renderings=1)
    return dict(costs)


def _needs_download(listing: Listing, row: Adapter | None, weights: Container[str]) -> bool:
    """Return whether a file is neither refused nor present."""
    if row and not should_be_stored(row):
        return False
    sha256 = row.sha256 if row else listing.sha256
    return sha256 is None or sha256 not in weights


def _missing_images(tables: PoolTables, active: Sequence[Listing]) -> list[ImageSource]:
    """Return the images of accepted and unread files that are neither refused nor present."""
    adapters, stored = tables.adapters, stored_files(tables.root, "renderings")
    wanted = image_sources(row for row in active if row.key not in adapters or adapters[row.key].accepted)
    present = {key for key, row in tables.renderings.items() if row["sha256"] in stored}
    return [image for key, image in wanted.items() if key not in tables.refused and key not in present]
