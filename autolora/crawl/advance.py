"""Step 3 of a crawl: the watermark of a hub after a scan."""

from datetime import date

from autolora.crawl.scan import HubScan
from autolora.crawl.watermarks import Watermark, end_of


def advance(scan: HubScan, today: date) -> Watermark | None:
    """Return the hub's watermark after a scan; the former one, or None, if the scan was not complete.

    The watermark stays at or before every new model that could not be completed, so that the next scan reads it again.
    """
    mark = scan.watermark
    if not scan.is_complete:
        return mark
    times = [min(model.updated, end_of(today)) for model in scan.models.values()]
    if mark:
        times.append(mark.newest)
    if not times:
        return None
    failed = [model.updated for model in scan.models.values() if model.id in scan.failed]
    new_failed = [updated for updated in failed if not mark or updated > mark.newest]
    return Watermark(
        newest=min([max(times), *new_failed]),
        last_full_scan=today if scan.is_full or mark is None else mark.last_full_scan,
        rules=scan.rules_digest,
    )
