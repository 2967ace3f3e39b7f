"""`python -m autolora` is the command line."""

from autolora.cli import main

main()
