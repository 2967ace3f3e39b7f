"""The report part of the stage `experiments` on disk."""

import logging

logger = logging.getLogger(__name__)
