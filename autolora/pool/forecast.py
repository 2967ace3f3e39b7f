"""What the stage `pool` will fetch once the rows of a crawl are the catalog, told before anything is written."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autolora.catalog.sources import Shown, shown
from autolora.catalog.store import catalog_path
from autolora.crawl.budget import Cost, cost
from autolora.errors import MissingArtifact
from autolora.params import CrawlParams
from autolora.pool import store as pool
from autolora.pool.near_duplicates import gather, is_read
from autolora.records import Adapter, Listing
from autolora.storage.git import read_committed


def forecast(root: Path, rows: Iterable[Listing], rules: CrawlParams) -> dict[str, Cost]:
    """Return hub -> what it will send: files and pictures that data/pool lacks, new to the catalog or not.

    What was refused is not asked for again; of a file that nobody has read yet all pictures count, as if it were
    accepted. A file of several hubs counts for the one that names it.
    """
    road = [row for row in rows if row.on_the_road]
    read = pool.adapters(root)
    found: defaultdict[str, Cost] = defaultdict(Cost)
    for key, origins in gather(road).items():
        if _lacks(root, origins.named, read.get(key)):
            found[origins.named.hub] += replace(cost(origins.named, rules, ()), renderings=0)
    for picture in _pictures(root, road, read):
        found[picture.hub] += Cost(renderings=1)
    return dict(found)


def restores(root: Path) -> bool:
    """Tell whether a crawl would put a missing catalog back as committed, and ask no hub."""
    path = catalog_path(root)
    if path.exists():
        return False
    try:
        read_committed(root, "HEAD", str(path.relative_to(root)))
    except MissingArtifact:
        return False
    return True


def _lacks(root: Path, listing: Listing, row: Adapter | None) -> bool:
    """Tell whether a file has to be downloaded: neither refused nor there."""
    if row and not is_read(row):
        return False
    sha256 = row.sha256 if row else listing.sha256
    return sha256 is None or not pool.weights_path(root, sha256).exists()


def _pictures(root: Path, road: Sequence[Listing], read: Mapping[str, Adapter]) -> list[Shown]:
    """Return the pictures that have to be downloaded."""
    have, refused = pool.renderings(root), pool.refused_renderings(root)
    wanted = shown(row for row in road if row.key not in read or read[row.key].accepted)
    return [
        picture
        for key, picture in wanted.items()
        if key not in refused and not (key in have and pool.rendering_path(root, have[key].sha256).exists())
    ]
