"""Roles of adapters: which one is the style is said, and never guessed from the order."""

from dataclasses import replace
from typing import Any

import pytest

from autolora.errors import MismatchError
from autolora.fusion.methods import make_rule
from autolora.fusion.roles import order_by_role, role_of
from autolora.params import METHODS, METHODS_WITH_STYLE, RULE_NUMBERS, Method
from autolora.records import Hit
from tests.fusion.rules.adapters import DENSE, load_gates

A, B = (
    Hit(
        rank=1, score=0.5, relevance=None, sha256=letter * 64, hub="huggingface", id=f"x/{letter}", file="f",
        license=None, nsfw=False, trigger_words=(), index="i",
    )
    for letter in "ab"
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS_WITH_STYLE)
def test_the_style_is_the_last_in_either_order(method: Method) -> None:
    assert order_by_role([A, B], method, A) == order_by_role([B, A], method, A) == [B, A]
    assert [role_of(hit.sha256, A.sha256) for hit in (A, B)] == ["style", "content"]
    assert role_of(A.sha256, None) == ""


@pytest.mark.parametrize("method", METHODS_WITH_STYLE)
def test_a_method_with_roles_asks_for_the_style_of_two_acting_adapters(method: Method) -> None:
    with pytest.raises(
        MismatchError, match=r"the style, huggingface:x/a or huggingface:x/b: name it \(`--style"
    ):
        order_by_role([A, B], method, None)
    silent = replace(B, strength=0.0)
    assert order_by_role([A, silent], method, None) == [A], "one adapter alone acts as its update"
    assert order_by_role([A, silent], method, A) == [A]


def test_a_style_that_is_of_no_use_is_an_error() -> None:
    with pytest.raises(MismatchError, match="the method `direct` makes no difference between adapters"):
        order_by_role([A, B], "direct", A)
    with pytest.raises(
        MismatchError, match=r"cccccccc, is not one of the adapters \(huggingface:x/a\): give both adapters"
    ):
        order_by_role([A], "klora", replace(B, sha256="c" * 64))
    with pytest.raises(MismatchError, match=r"\(huggingface:x/a, huggingface:x/b\): name one of them"):
        order_by_role([A, B], "klora", replace(B, sha256="c" * 64))


@pytest.mark.parametrize("method", METHODS_WITH_STYLE)
def test_more_than_two_adapters_are_named(method: Method) -> None:
    third = replace(B, id="x/c", sha256="c" * 64)
    message = r"but 3 are given \(huggingface:x/a, huggingface:x/b, huggingface:x/c\): give two \(`-k 2`"
    for style in (None, A):
        with pytest.raises(MismatchError, match=message):
            order_by_role([A, B, third], method, style)
    assert order_by_role([A, B, replace(third, strength=0.0)], method, A) == [B, A]


def test_an_unknown_method_is_answered_by_similar_ones() -> None:
    method: Any = "klorra"
    with pytest.raises(ValueError, match=r"no method of fusion 'klorra' \(did you mean 'klora'"):
        order_by_role([A, B], method, None)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in METHODS_WITH_STYLE])
def test_other_methods_take_the_adapters_as_they_are(method: Method) -> None:
    assert order_by_role([B, A], method, None) == [B, A]


@pytest.mark.parametrize("method", [method for method in METHODS if method != "gated"])
def test_the_numbers_that_are_stated_are_those_of_the_rule(method: Method) -> None:
    rule = vars_of(make_rule(method, DENSE, load_gates))
    changes = {
        "velocity_factor": 0.3, "velocity_share": 0.4, "switch_steps": 7, "density": 0.35, "drop": 0.45, "seed": 99,
    }  # fmt: skip
    changed = {
        name
        for name, value in changes.items()
        if vars_of(make_rule(method, replace(DENSE, **{name: value}), load_gates)) != rule
    }
    assert changed == set(RULE_NUMBERS.get(method, ()))


def vars_of(rule: object) -> dict[str, object]:
    """Return the fields of a rule."""
    names = getattr(type(rule), "__slots__", ())
    return {name: getattr(rule, name) for name in names}
