"""Flows: one per stage, and the refresh.

Prefect and OpenMP read their settings when they are first imported, so these are set here, before any flow imports
them; and Ctrl-C must work while it does.
"""

import logging
import os
import sys

from autolora.interrupt import exit_on_interrupt

if (
    sys.argv[0] == "-m"
):  # as long as `python -m flows.<name>` imports this package; not in tests and Prefect's workers
    exit_on_interrupt("interrupted: what is finished is kept, and the same command continues from there")

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # of Prefect's own loggers
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # flows.stage prints failures
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "autolora,flows")  # go to the log of a run
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
for _name in ("autolora", "flows"):
    logging.getLogger(_name).setLevel(logging.INFO)

# OpenMP threads that wait by spinning make torch ten times slower on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
