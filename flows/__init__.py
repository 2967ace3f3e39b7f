"""Flows: one a stage, and the nightly refresh.

Prefect and OpenMP read their settings when they are first imported, so these are set here, before any flow imports
them; and here Prefect's import is timed, as a part of its share of a stage.
"""

import os
import time

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # flows.stage says what failed

# OpenMP threads that wait by spinning make torch ten times slower on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_started = time.perf_counter()

import prefect.artifacts  # noqa: E402  # timed
import prefect.task_runners  # noqa: E402, F401

PREFECT_IMPORT_S = time.perf_counter() - _started
