"""A pool in Python: its hits, fused into pipelines that are plain, hold PEFT's adapters, or are offloaded or quantized.

pip install torchao bitsandbytes && pytest tests/test_open_pool.py      # the quantized pipelines too
"""

import gc
import re
import shutil
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autolora
from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion.install import fused
from autolora.open_pool import Pool
from autolora.pool.weights import load_lora
from autolora.records import Hit
from autolora.slots import slots
from tests.support import small_root
from tests.support.tiny_flux import CONFIG, TOKENS, build_pipeline, random_lora, save_peft

PROMPT = "neon"
REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs/howto/python.md"
Prepare = Callable[[Any, Path], None]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose pipeline is where the shipped params.yaml says."""
    root = tmp_path_factory.mktemp("repository")
    base = small_root.base(root)
    shutil.copy(REPOSITORY / "params.yaml", root)
    (root / "playground/models").mkdir(parents=True)
    (root / "playground/models/flux").symlink_to(base.pipeline)
    small_root.build(root, base)
    return root


@pytest.fixture(scope="module")
def pool(root: Path) -> Pool:
    return autolora.open(root)


@pytest.fixture(scope="module")
def hits(pool: Pool) -> list[Hit]:
    hits = pool.search(PROMPT, k=2)
    return [replace(hits[0], strength=0.7, relevance=0.9), replace(hits[1], relevance=0.4)]


@pytest.fixture
def pipe() -> Any:
    return build_pipeline()


def draw(pipe: Any) -> np.ndarray[Any, Any]:
    """Return an image (32, 32, 3), 0 to 1."""
    images = pipe(
        PROMPT, width=32, height=32, num_inference_steps=2, max_sequence_length=TOKENS, output_type="np",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip
    return np.asarray(images[0])


def difference(first: Any, second: Any) -> float:
    """Return the largest difference of two images, in 1/255."""
    return float(np.abs(first - second).max() * 255)


def state(pipe: Any) -> list[tuple[str, type, int, Any]]:
    """Return name, class, number of hooks and parameters of each module of the transformer; those on meta are None."""
    return [
        (
            name,
            type(module),
            len(module._forward_hooks) + len(module._forward_pre_hooks),
            [
                None if tensor.is_meta else stored(tensor).clone()
                for tensor in module.parameters(recurse=False)
            ],
        )
        for name, module in pipe.transformer.named_modules()
    ]


def stored(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers that a parameter stores: of one that torchao has quantized, the integers."""
    return getattr(tensor, "qdata", tensor)


def assert_same_state(actual: Any, expected: Any) -> None:
    for (*labels, tensors), (*expected_labels, expected_tensors) in zip(actual, expected, strict=True):
        assert labels == expected_labels
        for tensor, other in zip(tensors, expected_tensors, strict=True):
            assert tensor is other is None or torch.equal(tensor, other)


def load_peft(pipe: Any, folder: Path) -> None:
    pipe.load_lora_weights(str(save_peft(random_lora(77), folder / "turbo.safetensors")))


def fuse_peft(pipe: Any, folder: Path) -> None:
    load_peft(pipe, folder)
    pipe.fuse_lora()
    pipe.unload_lora_weights()


def offload_model(pipe: Any, folder: Path) -> None:
    from accelerate import cpu_offload_with_hook

    cpu_offload_with_hook(pipe.transformer, execution_device="cpu")


def offload_sequentially(pipe: Any, folder: Path) -> None:
    from accelerate import cpu_offload

    cpu_offload(pipe.transformer, execution_device=torch.device("cpu"), offload_buffers=True)
    assert pipe.transformer.transformer_blocks[0].attn.to_q.weight.is_meta


def offload_sequentially_with_peft(pipe: Any, folder: Path) -> None:
    load_peft(pipe, folder)
    offload_sequentially(pipe, folder)


def offload_groups(pipe: Any, folder: Path) -> None:
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"), offload_device=torch.device("cpu"), offload_type="leaf_level"
    )


def quantize_by_torchao(pipe: Any, folder: Path) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(pipe.transformer, Int8WeightOnlyConfig())


def quantize_by_torchao_with_peft(pipe: Any, folder: Path) -> None:
    quantize_by_torchao(pipe, folder)
    load_peft(pipe, folder)


def replace_linears(pipe: Any, make: Callable[[torch.nn.Linear], torch.nn.Linear]) -> None:
    """Replace each linear of a slot, as quantization by bitsandbytes does."""
    for slot in slots(CONFIG):
        parent, _, name = slot.name.rpartition(".")
        linear = pipe.transformer.get_submodule(slot.name)
        quantized = make(linear)
        quantized.load_state_dict(linear.state_dict())
        setattr(pipe.transformer.get_submodule(parent), name, quantized.to("cpu").requires_grad_(False))


def quantize_to_8_bits(pipe: Any, folder: Path) -> None:
    nn = pytest.importorskip("bitsandbytes").nn
    replace_linears(pipe, lambda x: nn.Linear8bitLt(x.in_features, x.out_features, has_fp16_weights=False))


def quantize_to_4_bits(pipe: Any, folder: Path) -> None:
    nn = pytest.importorskip("bitsandbytes").nn
    replace_linears(pipe, lambda x: nn.Linear4bit(x.in_features, x.out_features))
    assert pipe.transformer.transformer_blocks[0].attn.to_q.weight.shape[1] == 1


def plain(pipe: Any, folder: Path) -> None:
    """Leave the pipeline as it is."""


EXACT: tuple[Prepare, ...] = (plain, offload_model, offload_sequentially, offload_groups)
"""ways to load a pipeline that do not change what it computes"""
CHANGED: tuple[Prepare, ...] = (
    load_peft, fuse_peft, offload_sequentially_with_peft, quantize_by_torchao, quantize_by_torchao_with_peft,
    quantize_to_8_bits, quantize_to_4_bits,
)  # fmt: skip
"""ways that change it: the reference is the same pipeline, with the updates added to the outputs by hand"""


@pytest.mark.parametrize("method", ["direct", "gated"])
@pytest.mark.parametrize("prepare", EXACT, ids=lambda prepare: prepare.__name__)
def test_image_is_that_of_a_plain_pipeline(
    pool: Pool, hits: list[Hit], pipe: Any, tmp_path: Path, prepare: Prepare, method: Any
) -> None:
    with pool.fuse(pipe, hits, method=method):
        expected = draw(pipe)
    prepare(pipe, tmp_path)
    before, base = state(pipe), draw(pipe)
    with pool.fuse(pipe, hits, method=method):
        assert np.array_equal(draw(pipe), expected)
    assert_same_state(state(pipe), before)
    assert np.array_equal(draw(pipe), base)
    assert difference(base, expected) > 5


@pytest.mark.parametrize("prepare", CHANGED, ids=lambda prepare: prepare.__name__)
def test_updates_are_added_to_what_the_pipeline_computes(
    pool: Pool, hits: list[Hit], pipe: Any, root: Path, tmp_path: Path, prepare: Prepare
) -> None:
    prepare(pipe, tmp_path)
    before, base = state(pipe), draw(pipe)
    with pool.fuse(pipe, hits, method="direct"):
        actual = draw(pipe)
    assert_same_state(state(pipe), before)
    assert np.array_equal(draw(pipe), base)
    handles = [
        pipe.transformer.get_submodule(name).register_forward_hook(added(factors, hit.strength))
        for hit in hits
        for name, factors in load_lora(root, hit.sha256, slots(CONFIG), pool.settings.pool).items()
    ]
    expected = draw(pipe)
    for handle in handles:
        handle.remove()
    assert difference(actual, expected) < 0.01
    assert difference(actual, base) > 5


def added(factors: Any, strength: float) -> Any:
    """Return a hook that adds strength · scale · x Aᵀ Bᵀ, as this test understands a LoRA."""
    return lambda module, inputs, output: (
        output + strength * factors.scale * (inputs[0] @ factors.down.T @ factors.up.T)
    )


@pytest.mark.parametrize("prepare", EXACT[1:], ids=lambda prepare: prepare.__name__)
def test_pipeline_may_be_offloaded_after_adapters_are_attached(
    pool: Pool, hits: list[Hit], pipe: Any, tmp_path: Path, prepare: Prepare
) -> None:
    pool.attach(pipe, hits, method="gated")
    expected = draw(pipe)
    prepare(pipe, tmp_path)
    assert np.array_equal(draw(pipe), expected)
    pool.detach(pipe)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_strength_and_relevance_act_once(pool: Pool, hits: list[Hit], pipe: Any, root: Path) -> None:
    """Gates know the relevance of a hit; the sum of updates knows its strength alone."""
    loras = [load_lora(root, hit.sha256, slots(CONFIG), pool.settings.pool) for hit in hits]
    with fused(pipe.transformer, loras, weights=[0.7, 1.0]):
        expected = draw(pipe)
    with pool.fuse(pipe, hits, method="direct"):
        assert np.array_equal(draw(pipe), expected)
    with pool.fuse(pipe, hits, method="gated"):
        gated = draw(pipe)
    with pool.fuse(pipe, [replace(hit, relevance=0.0) for hit in hits], method="gated"):
        assert difference(draw(pipe), gated) > 0.1


def test_attached_adapters_stay_until_they_are_replaced_or_detached(
    pool: Pool, hits: list[Hit], pipe: Any
) -> None:
    base = draw(pipe)
    images = {}
    for name, chosen in (("first", hits[:1]), ("second", hits[1:])):
        with pool.fuse(pipe, chosen, method="direct"):
            images[name] = draw(pipe)
    for _ in range(2):
        pool.attach(pipe, hits[:1], method="direct")
        assert np.array_equal(draw(pipe), images["first"])
    pool.attach(pipe, hits[1:], method="direct")
    assert np.array_equal(draw(pipe), images["second"])
    with pytest.raises(MissingArtifact, match="0000"):
        pool.attach(pipe, [replace(hits[0], sha256="0" * 64)], method="direct")
    assert np.array_equal(draw(pipe), images["second"])
    for _ in range(2):
        pool.detach(pipe)
        assert np.array_equal(draw(pipe), base)


def test_a_pipeline_has_one_set_of_adapters_at_a_time(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    with pool.fuse(pipe, hits[:1], method="direct"):
        first = draw(pipe)
        with pytest.raises(MismatchError, match=r"pool\.detach"), pool.fuse(pipe, hits[1:]):
            pass
        assert np.array_equal(draw(pipe), first)
        pool.attach(pipe, hits[1:], method="direct")
    assert not np.array_equal(draw(pipe), first)
    with pytest.raises(MismatchError, match=r"pool\.detach"), pool.fuse(pipe, hits):
        pass
    pool.detach(pipe)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_adapters_are_removed_after_an_error(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    with pytest.raises(KeyError), pool.fuse(pipe, hits):
        raise KeyError
    assert not any(module._forward_hooks for module in pipe.transformer.modules())
    with pool.fuse(pipe, hits):
        pass


def test_a_pipeline_may_be_compiled_between_attaching_and_detaching(
    pool: Pool, hits: list[Hit], pipe: Any
) -> None:
    base = draw(pipe)
    pool.attach(pipe, hits, method="direct")
    expected = draw(pipe)
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")
    assert difference(draw(pipe), expected) < 0.01
    pool.detach(pipe)
    assert difference(draw(pipe), base) < 0.01


def test_attached_adapters_do_not_keep_a_pipeline_alive(pool: Pool, hits: list[Hit]) -> None:
    pipe = build_pipeline()
    pool.attach(pipe, hits, method="gated")
    transformer = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert transformer() is None


def test_every_pipeline_with_the_transformer_is_supported(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    from diffusers import FluxImg2ImgPipeline

    other = FluxImg2ImgPipeline(**pipe.components)
    with pool.fuse(other, hits):
        assert any(module._forward_hooks for module in pipe.transformer.modules())
    with pytest.raises(MismatchError, match="Linear is not the transformer of a FLUX pipeline"):
        pool.attach(type("Other", (), {"transformer": torch.nn.Linear(1, 1)})(), hits)


def test_an_adapter_that_is_given_twice_is_an_error(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    with pytest.raises(MismatchError, match="given twice"):
        pool.attach(pipe, [*hits, hits[0]])
    with pool.fuse(pipe, []):
        assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_wrong_arguments_are_type_errors(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    wrong: list[tuple[Any, str]] = [
        (hits[0], r"not one hit: give `\[hit\]`"),
        ("author/name", "not str: `pool.search`"),
        ([hits[0].id], "it contains str"),
        (None, "not NoneType"),
    ]
    for value, message in wrong:
        with pytest.raises(TypeError, match=message):
            pool.attach(pipe, value)
        with pytest.raises(TypeError, match=message), pool.fuse(pipe, value):
            pass
    nothing: Any = None
    for call in (lambda: pool.attach(nothing, hits), lambda: pool.detach(nothing)):
        with pytest.raises(TypeError, match="expected a pipeline of diffusers"):
            call()
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_an_empty_prompt_is_an_error(pool: Pool) -> None:
    for find in (pool.search, pool.select):
        with pytest.raises(ValueError, match="the prompt is empty"):
            find(" ")


def test_without_hits_nothing_is_attached(pool: Pool, hits: list[Hit], pipe: Any) -> None:
    pool.attach(pipe, hits)
    pool.attach(pipe, [])
    with pool.fuse(pipe, hits):
        assert any(module._forward_hooks for module in pipe.transformer.modules())


def test_a_folder_of_lora_files_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "cat.safetensors").write_bytes(b"x")
    with pytest.raises(MissingArtifact, match="make a project with `autolora index"):
        autolora.open(tmp_path)


def test_threads_may_search_at_the_same_time(root: Path) -> None:
    prompts = [f"a {thing} number {number}" for thing in small_root.THEMES for number in range(10)]
    expected = [autolora.open(root).search(prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(autolora.open(root).search, prompts)) == expected


def test_hits_of_a_pool(pool: Pool, root: Path) -> None:
    assert len(pool) == 12 and repr(pool).startswith(f"<Pool of 12 adapters in {root}, index ")
    assert len(pool.search(PROMPT)) == pool.settings.retrieval.k
    assert pool.search(PROMPT, k=3, where="license = 'mit' and not nsfw") == pool.search(PROMPT, k=3)
    assert pool.search(PROMPT, where="nsfw") == []
    assert pool.select(PROMPT, where="nsfw") == []
    first, second = pool.search(PROMPT, k=2)
    named = pool.named(PROMPT, {second.id: 0.5, first.id: -1.0})
    assert [(hit.sha256, hit.strength) for hit in named] == [(second.sha256, 0.5), (first.sha256, -1.0)]
    assert named[0].trigger_words and not named[1].trigger_words
    assert [hit.strength for hit in pool.named(PROMPT, [first.id])] == [1.0]


def test_reasons_of_hits(pool: Pool) -> None:
    hits = pool.search(PROMPT, k=2)
    plain, with_blocks = pool.explain(PROMPT, hits), pool.explain(PROMPT, hits, blocks=True)
    assert [reason.captions for reason in plain] == [reason.captions for reason in with_blocks]
    assert plain[0].captions and plain[0].blocks is None and not plain[0].unavailable
    assert all(reason.blocks or reason.unavailable for reason in with_blocks)


def test_examples_of_the_documentation_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["image"].size == (64, 64) and len(names["images"]) == 2
    assert names["weighted"][0].strength == 0.8
    assert not any(module._forward_hooks for module in names["pipe"].transformer.modules())


def test_readme_shows_the_first_example() -> None:
    four_lines = (
        PAGE.read_text().split('pool = autolora.open(".")')[1].split("```")[0].replace(", **size", "")
    )
    assert four_lines in (REPOSITORY / "README.md").read_text()


def test_a_folder_without_a_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(autolora.AutoLoraError, match=r"params\.yaml"):
        autolora.open(tmp_path)


@pytest.mark.parametrize("source", ["nothing", "./nothing/here", Path("owner/name")])
def test_a_source_that_is_neither_a_folder_nor_an_id_is_an_error(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingArtifact, match=r"neither an existing folder nor a Hugging Face id"):
        autolora.open(source)
