"""What integration tests take from playground/repository.py."""

from playground.repository import (
    IDENTITY,
    ROOT,
    TEST_PARAMS,
    Repository,
    change_params,
    copy_folder,
    copy_tree,
    free_port,
    serve,
    wait_for,
    with_hub,
    write_schedule,
)

__all__ = [
    "IDENTITY",
    "ROOT",
    "TEST_PARAMS",
    "Repository",
    "change_params",
    "copy_folder",
    "copy_tree",
    "free_port",
    "serve",
    "wait_for",
    "with_hub",
    "write_schedule",
]
