"""Adapters that are attached to a pipeline, and leave it again."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.install import fused
from autolora.fusion.methods import attach, strengthened
from autolora.fusion.rules import Adapter
from autolora.generation.collection import Collection
from autolora.lora.slots import slots
from autolora.params.limits import MAX_ACTING
from autolora.pool.weights import load_lora
from autolora.records import Hit
from tests.collection.images import difference, draw
from tests.support.tiny_flux import CONFIG, build_pipeline


def test_strength_and_relevance_act_once(
    collection: Collection, hits: list[Hit], pipe: Any, root: Path
) -> None:
    """Gates know the relevance of a hit; the sum of updates knows its strength alone."""
    loras = [load_lora(root, hit.sha256, slots(CONFIG), collection.settings.pool) for hit in hits]
    with fused(pipe.transformer, [strengthened(loras[0], 0.7), loras[1]]):
        expected = draw(pipe)
    with collection.fuse(pipe, hits, method="direct"):
        assert np.array_equal(draw(pipe), expected)
    with collection.fuse(pipe, hits, method="gated"):
        gated = draw(pipe)
    with collection.fuse(pipe, [replace(hit, relevance=0.0) for hit in hits], method="gated"):
        assert difference(draw(pipe), gated) > 0.1


def test_attached_adapters_stay_until_they_are_replaced_or_detached(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    base = draw(pipe)
    images = {}
    for name, chosen in (("first", hits[:1]), ("second", hits[1:])):
        with collection.fuse(pipe, chosen, method="direct"):
            images[name] = draw(pipe)
    for _ in range(2):
        collection.attach(pipe, hits[:1], method="direct")
        assert np.array_equal(draw(pipe), images["first"])
    collection.attach(pipe, hits[1:], method="direct")
    assert np.array_equal(draw(pipe), images["second"])
    with pytest.raises(MissingArtifact, match="0000"):
        collection.attach(pipe, [replace(hits[0], sha256="0" * 64)], method="direct")
    assert np.array_equal(draw(pipe), images["second"])
    for _ in range(2):
        collection.detach(pipe)
        assert np.array_equal(draw(pipe), base)


def test_a_pipeline_has_one_set_of_adapters_at_a_time(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    with collection.fuse(pipe, hits[:1], method="direct"):
        first = draw(pipe)
        with pytest.raises(MismatchError, match=r"collection\.detach"), collection.fuse(pipe, hits[1:]):
            pass
        assert np.array_equal(draw(pipe), first)
        collection.attach(pipe, hits[1:], method="direct")
    assert not np.array_equal(draw(pipe), first)
    with pytest.raises(MismatchError, match=r"collection\.detach"), collection.fuse(pipe, hits):
        pass
    collection.detach(pipe)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_adapters_are_removed_after_an_error(collection: Collection, hits: list[Hit], pipe: Any) -> None:
    with pytest.raises(KeyError), collection.fuse(pipe, hits):
        raise KeyError
    assert not any(module._forward_hooks for module in pipe.transformer.modules())
    with collection.fuse(pipe, hits):
        pass


@pytest.mark.slow
def test_a_pipeline_may_be_compiled_between_attaching_and_detaching(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    base = draw(pipe)
    collection.attach(pipe, hits, method="direct")
    expected = draw(pipe)
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")
    assert difference(draw(pipe), expected) < 0.01
    collection.detach(pipe)
    assert difference(draw(pipe), base) < 0.01


def test_attached_adapters_do_not_keep_a_pipeline_alive(collection: Collection, hits: list[Hit]) -> None:
    pipe = build_pipeline()
    collection.attach(pipe, hits, method="gated")
    transformer = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert transformer() is None


def test_every_pipeline_with_the_transformer_is_supported(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    from diffusers import FluxImg2ImgPipeline

    other = FluxImg2ImgPipeline(**pipe.components)
    with collection.fuse(other, hits):
        assert any(module._forward_hooks for module in pipe.transformer.modules())
    with pytest.raises(MismatchError, match="Linear is not the transformer of a FLUX pipeline"):
        collection.attach(type("Other", (), {"transformer": torch.nn.Linear(1, 1)})(), hits)


def test_an_adapter_that_is_given_twice_is_an_error(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    with pytest.raises(MismatchError, match="given twice"):
        collection.attach(pipe, [*hits, hits[0]])
    with collection.fuse(pipe, []):
        assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_more_adapters_and_larger_strengths_than_allowed_are_errors(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    many = [replace(hits[0], sha256=f"{number:064x}") for number in range(MAX_ACTING + 1)]
    with pytest.raises(MismatchError, match=r"101 adapters are given, but at most 100 act together"):
        collection.attach(pipe, many)
    wrong: Any
    for wrong in (50, -4.1, float("nan"), "0.8", None):
        with pytest.raises(MismatchError, match=r"give a number from -4 to 4, such as 0\.8"):
            collection.attach(pipe, [replace(hits[0], strength=wrong)])
    for wrong in (float("nan"), 1.5, -0.1):
        with pytest.raises(
            MismatchError, match=r"the relevance of adapter .*: give a number from 0 to 1, or None"
        ):
            collection.attach(pipe, [replace(hits[0], relevance=wrong)], method="gated")
    for wrong in ("../../x", hits[0].sha256.upper(), None):
        with pytest.raises(
            MismatchError, match=r"the sha256 of adapter .* expected 64 lower-case hex digits"
        ):
            collection.attach(pipe, [replace(hits[0], sha256=wrong)])
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_wrong_arguments_are_type_errors(collection: Collection, hits: list[Hit], pipe: Any) -> None:
    wrong: list[tuple[Any, str]] = [
        (hits[0], r"not one hit: give `\[hit\]`"),
        ("author/name", "not str: `collection.search`"),
        ([hits[0].id], "it contains str"),
        (None, "not NoneType"),
    ]
    for value, message in wrong:
        with pytest.raises(TypeError, match=message):
            collection.attach(pipe, value)
        with pytest.raises(TypeError, match=message), collection.fuse(pipe, value):
            pass
    nothing: Any = None
    for call in (lambda: collection.attach(nothing, hits), lambda: collection.detach(nothing)):
        with pytest.raises(TypeError, match="expected a pipeline of diffusers"):
            call()
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_without_hits_nothing_is_attached(collection: Collection, hits: list[Hit], pipe: Any) -> None:
    collection.attach(pipe, hits)
    collection.attach(pipe, [])
    with collection.fuse(pipe, hits):
        assert any(module._forward_hooks for module in pipe.transformer.modules())


def test_methods_of_fusion_are_chosen_by_name(
    collection: Collection, hits: list[Hit], pipe: Any, root: Path
) -> None:
    loras = [load_lora(root, hit.sha256, slots(CONFIG), collection.settings.pool) for hit in hits]
    adapters = [
        Adapter(hit.sha256, strengthened(lora, hit.strength), hit.relevance)
        for hit, lora in zip(hits, loras, strict=True)
    ]
    base = draw(pipe)
    gates = fusion.load(slots(CONFIG), fusion.folder(root))
    with attach(pipe, adapters, "gated", lambda: gates):
        expected = draw(pipe)
    with collection.fuse(pipe, hits, method="gated"):
        assert np.array_equal(draw(pipe), expected)
    assert np.array_equal(draw(pipe), base)
    with collection.fuse(pipe, hits, method="direct"):
        assert difference(draw(pipe), expected) > 0


def test_an_unknown_method_is_an_error_that_lists_the_known_ones(
    collection: Collection, hits: list[Hit], pipe: Any
) -> None:
    unknown: Any = "average"
    for some in (hits, []):
        with pytest.raises(ValueError, match=r"'average': give one of direct, gated"):
            collection.attach(pipe, some, method=unknown)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())
