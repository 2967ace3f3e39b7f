"""The paper's experiments on a user's adapters: `python -m studies.<name>`. Ctrl-C ends each with one line."""

import sys

from autolora.interrupt import exit_on_interrupt

if sys.argv[0] == "-m":  # as long as `python -m studies.<name>` imports this package; not in tests
    exit_on_interrupt("interrupted: the same command continues from what it has kept, or starts again")
