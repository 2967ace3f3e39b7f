"""Command: serve playground/pool on loopback through the APIs of Hugging Face, Civitai and ModelScope.

python -m playground.hub [--port 8765] [--pool playground/pool] [--day 1] [--spread-days 180]
                         [--page-size 10] [--state DIR] [--civitai-port N] [--modelscope-port N] [--verbose]
python -m playground.hub --list-faults

Hugging Face's API is at /, Civitai's at /civitai and ModelScope's at /modelscope; redirected downloads are served
on a second port under another host name. A repository is visible from the day that its line of schedule.jsonl
names. POST /_playground changes the day, withdraws and relicenses repositories, and injects faults; README.md
lists the orders.
"""

import argparse
import logging
import threading
from pathlib import Path

from playground.hubs.faults import format_faults
from playground.hubs.server import start
from playground.hubs.state import SPREAD_DAYS, Hub

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the playground's pool through three hub APIs.")
    parser.add_argument("--port", type=int, default=8765, help="0: any free port")
    parser.add_argument("--civitai-port", type=int, help="also serve Civitai without a prefix on this port")
    parser.add_argument(
        "--modelscope-port", type=int, help="also serve ModelScope without a prefix on this port"
    )
    parser.add_argument("--pool", type=Path, default=Path("playground/pool"))
    parser.add_argument("--day", type=int, default=1, help="ignored if --state holds a day")
    parser.add_argument(
        "--spread-days",
        type=int,
        default=SPREAD_DAYS,
        help="spread the dates of the first day's repositories over so many days",
    )
    parser.add_argument("--state", type=Path, help="folder that stores day, withdrawals and license changes")
    parser.add_argument("--page-size", type=int, default=10, help="maximum number of entries per list page")
    parser.add_argument("--verbose", action="store_true", help="log every request to stderr")
    parser.add_argument(
        "--list-faults", action="store_true", help="print the faults that can be injected, and exit"
    )
    options = parser.parse_args()
    if options.list_faults:
        return print(format_faults())
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    hub = Hub(options.pool, options.day, options.state, options.page_size, options.spread_days)
    own_ports = {"civitai": options.civitai_port, "modelscope": options.modelscope_port}
    try:
        endpoint = start(
            hub, options.port, {name: port for name, port in own_ports.items() if port is not None}
        )
    except OSError as error:
        raise SystemExit(
            f"cannot listen on port {options.port}: {error}; stop the process that uses it, or pass another --port"
        ) from error
    logger.info("hub at %s", endpoint)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        hub.stop()


if __name__ == "__main__":
    main()
