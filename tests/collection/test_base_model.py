"""Pipelines of another base model than the pool's are refused before any weights are read."""

import pytest

from autolora.errors import MismatchError
from autolora.generation.collection import Collection
from autolora.params import METHODS, Method
from autolora.records import Hit
from tests.support.tiny_flux import build_other_pipeline


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("config", "difference"),
    [
        ({"attention_head_dim": 32}, r"0\.attn\.to_q \(64 to 64 in the pipeline, 32 to 32 in the base model"),
        ({"num_single_layers": 1}, r"single_\w+\.1\.attn\.to_q \(missing in the pipeline, 32 to 32 in the base"),
        ({"num_layers": 2}, r"transformer_blocks\.1\.attn\.to_q \(32 to 32 in the pipeline, missing in the base"),
    ],
    ids=["wider", "fewer blocks", "more blocks"],
)  # fmt: skip
def test_another_base_model_is_named_with_its_first_difference(
    collection: Collection, hits: list[Hit], config: dict[str, int], difference: str, method: Method
) -> None:
    pipe = build_other_pipeline(**config)
    with pytest.raises(MismatchError, match=rf"not the base model of the pool: .*{difference}.*: load the"):
        collection.attach(pipe, hits, method=method)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_without_adapters_any_pipeline_is_accepted(collection: Collection) -> None:
    with collection.fuse(build_other_pipeline(num_layers=2), []):
        pass
