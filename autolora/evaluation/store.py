"""The report part of the stage `evaluation` on disk."""

import logging

logger = logging.getLogger(__name__)
