"""A month of nights of a pool with three hubs, with real stages, git, DVC and Prefect: `python -m bench.nights`."""
