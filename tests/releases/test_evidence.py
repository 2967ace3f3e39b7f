"""The gate reads evidence again as the index has read it."""

from pathlib import Path

from autolora import models
from autolora.index import stage as index
from autolora.releases import exact
from tests.support import small_root


def test_captions_are_read_again_in_the_order_of_the_index(tmp_path: Path) -> None:
    """The order decides which of two captions is the typical one if both are equally near to all."""
    base = small_root.base(tmp_path)
    small_root.build(tmp_path, base)
    text_encoder = models.load_text_encoder(base)
    sync = index.open_sync(tmp_path, small_root.bounds(), lambda: text_encoder)
    captions = {sha256: exact._captions(tmp_path, sha256) for sha256 in sync.expected}
    assert captions == {sha256: sync._groups(sha256) for sha256 in sync.expected}
    assert all(len(groups) == 2 and len(groups[0]) == 2 for groups in captions.values())
