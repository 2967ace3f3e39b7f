"""One adapter that two hubs list with different metadata, and a repository with its dataset."""

from dataclasses import replace
from pathlib import Path

from autolora.records import Permissions
from tests.support.synthetic_repo import make_adapter, write_dataset, write_repository

ADAPTER = make_adapter("mosaic", 0)
HUGGINGFACE = replace(
    ADAPTER.listing,
    permissions=Permissions(commercial=True, derivatives=True, credit=False),
    person=False,
)
CIVITAI = replace(
    HUGGINGFACE,
    hub="civitai",
    id="618692",
    file="ink.safetensors",
    license="civitai: commercial=None",
    permissions=Permissions(commercial=False, derivatives=None, credit=True),
    nsfw=True,
    nsfw_level="mature",
    person=True,
    minor=False,
    renderings=HUGGINGFACE.renderings[:1],
)


def write_two_sources(root: Path) -> None:
    """Write a repository of two files, the first listed by both hubs, with its dataset."""
    adapters = [replace(ADAPTER, listing=listing) for listing in (CIVITAI, HUGGINGFACE)]
    write_repository(root, [*adapters, make_adapter("neon", 1)])
    write_dataset(root)
