"""A search and a generation are short ways through the code: how many modules each enters."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from autolora.generation.collection import Collection
from autolora.generation.images import Generator, generate
from autolora.params import load
from tests.collection.images import PROMPT

PACKAGE = Path(__file__).parents[2] / "autolora"
READING = ("autolora.pool.weights",)
"""modules in which a part of the way ends: what they call reads a file of weights"""
ENCODING = ("autolora.text_encoder.clip",)
"""modules in which a part of the way ends: what they call are the layers of a network"""


@contextmanager
def entries(leaves: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Yield the modules of autolora that code enters, in order; one that is entered several times in a row once.

    A module is entered if a function that is written in it is called from another module of autolora. Not counted are
    returns to a caller, constructors that dataclasses generate, and what `leaves` call, and a pipeline of diffusers.
    """
    found: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and _is_own(frame) and (module := frame.f_globals["__name__"]):
            callers = list(_callers(frame))
            if not {*leaves, "diffusers"} & set(callers) and callers[:1] != [module]:
                found.append(module)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found[:] = [module for module, _ in groupby(found)]


def _is_own(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)


def _callers(frame: FrameType) -> Iterator[str]:
    """Yield the modules of autolora on the stack, the nearest first, and `diffusers` if its code is on it."""
    caller = frame.f_back
    while caller is not None:
        name = str(caller.f_globals.get("__name__", ""))
        if _is_own(caller):
            yield name
        elif name.startswith("diffusers."):
            yield "diffusers"
        caller = caller.f_back


def test_a_search_enters_six_modules(collection: Collection) -> None:
    """From a prompt to hits, without a filter, in a collection that has answered another prompt; see `entries`."""
    collection.search("before", k=1)
    with entries(ENCODING) as modules:
        hits = collection.search(PROMPT, k=2)
    assert len(hits) == 2 and "autolora.search.retriever" in modules
    assert len(modules) <= 7 and len(set(modules)) <= 6, modules


def test_a_search_by_the_retriever_needs_no_collection(collection: Collection) -> None:
    """As the command line and the page search: by the class that Python's collection passes calls on to."""
    with entries(ENCODING) as modules:
        collection.retriever.choose(PROMPT, k=2)
    assert len(modules) == len(set(modules)) <= 5, modules


@pytest.mark.slow
def test_a_generation_enters_eight_modules_each_once(
    root: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From hits to an image by the shipped method, with a loaded base model; see `entries`.

    Reading the file of an adapter counts as one module, that which is asked for it.
    """
    monkeypatch.chdir(root)
    params = load(root / "params.yaml")
    generator, hits = Generator(root, params.models, params.pool), collection.search(PROMPT, k=2)
    assert generator.pipeline is not None and generator.slots
    # the tiny text encoders would not read all of the prompt with trigger words, which is worded by another module
    short = replace(params.generation, steps=2, trigger_words=False)
    with entries(READING) as modules:
        generate(generator, PROMPT, hits, method="direct", seed=0, params=short)
    assert modules[0] == "autolora.generation.images" and "autolora.pool.weights" in modules
    assert len(modules) == len(set(modules)) <= 8, modules


def test_entries_are_counted() -> None:
    """The count grows with each module that is entered again."""
    from autolora.params import limits
    from autolora.storage import validation

    calls: list[Callable[[], object]] = [
        lambda: limits.check_seed(0), lambda: validation.strings("a"), lambda: limits.check_count(1),
    ]  # fmt: skip
    with entries() as modules:
        for call in (*calls, calls[-1]):
            call()
    assert modules == ["autolora.params.limits", "autolora.storage.validation", "autolora.params.limits"]
