"""Command: measure the large world in its project: `python -m studies.large.report`; see playground/report.py."""

from playground.report import main
from studies.large.recipes import recipes

if __name__ == "__main__":
    main(recipes())
