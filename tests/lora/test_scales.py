"""The adapter config in the header determines the scale, as in PEFT."""

import json
import time

import pytest

from autolora.errors import RefusedFile
from autolora.lora.scales import (
    MAX_CHARS,
    MAX_PATTERN_CHARS,
    MAX_PATTERNS,
    METADATA_KEY,
    ScaleConfig,
    read_config,
)
from autolora.lora.slots import slots
from tests.lora.writing import WIDE

TO_Q = "transformer_blocks.1.attn.to_q"
NAMES = [slot.name for slot in slots(WIDE | {"num_layers": 19, "num_single_layers": 38})]


def config_of(**fields: object) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(fields)}


def read_patterns(patterns: dict[str, int]) -> ScaleConfig:
    return read_config(config_of(lora_alpha=9, alpha_pattern=patterns), NAMES)


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, 1.0),
        ({"peft_type": "LOHA", "lora_alpha": 8, "alpha": 2}, 2.0),
        ({"r": 4, "lora_alpha": 8}, 2.0),
        ({"transformer.lora_alpha": 8}, 2.0),
        ({"lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"lora_alpha": 8, "alpha_pattern": {"to_q": 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"attn.to_q": 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"o_q": 2}}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {f"^{TO_Q}": 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"^attn.to_q": 2}}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": None}, 2.0),
        ({"alpha_pattern": {"to_q": 2}}, 0.5),
        ({"peft_type": "LORA", "lora_alpha": 8, "alpha": 2}, 2.0),
    ],
)
def test_scale_follows_the_adapter_config(fields: dict[str, object], scale: float) -> None:
    assert read_config(config_of(**fields), [TO_Q]).scale(TO_Q, rank=4) == scale


@pytest.mark.parametrize(
    ("kind", "fields", "scale"),
    [
        ("loha", {"alpha": 8}, 2.0),
        ("loha", {"peft_type": "LORA", "alpha": 8, "lora_alpha": 2}, 2.0),
        ("loha", {"peft_type": "LOHA", "alpha": 8, "r": 2, "alpha_pattern": {"to_q": 2}}, 0.5),
        ("lokr", {"transformer.peft_type": "LOKR", "transformer.alpha": 8, "transformer.r": 2}, 2.0),
    ],
)
def test_keys_show_the_field_with_alpha(kind: str, fields: dict[str, object], scale: float) -> None:
    assert read_config(config_of(**fields), [TO_Q], kind).scale(TO_Q, rank=4) == scale


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"alpha": 8, "r": 4}, 2.0),
        ({"alpha": 8, "r": 4, "rank_pattern": {"to_q": 2}}, 4.0),
        ({"alpha": 8}, 1.0),
        ({"r": 4}, 1.0),
    ],
)
def test_lokr_of_full_matrices_has_the_rank_of_its_config(fields: dict[str, object], scale: float) -> None:
    assert read_config(config_of(**fields), [TO_Q], "lokr").scale(TO_Q, rank=None) == scale


@pytest.mark.parametrize(
    "pattern",
    [
        "to_q",
        r"attn\.to_(q|k|v)",
        r"transformer_blocks\.1[0-8]?\.attn\.to_out\.0",
        r".*\.(ff|ff_context)\.net\.\d+.*",
        r"^single_transformer_blocks\.(0|1|2)\..*",
        r"(?:attn.(?:to|add)_[^kv]+)$",
        r"blocks\.\d+\.proj_out",
        "proj.out",
        r"[a-z_]+blocks(\.\d+)+.norm1?.linear",
        "(t|to)?(o_|_)+q",
        "(a+)+",
        "(.*)*",
        "no_such_module",
        "",
    ],
)
def test_patterns_match_as_in_peft(pattern: str) -> None:
    other = pytest.importorskip("peft.utils.other")
    config = read_patterns({pattern: 3, "proj_(mlp|out)": 5, ".*norm.*": 6})
    for name in NAMES:
        key = other.get_pattern_key([pattern, "proj_(mlp|out)", ".*norm.*"], name)
        expected = {pattern: 3.0, "proj_(mlp|out)": 5.0, ".*norm.*": 6.0}.get(key, 9.0)
        assert config.scale(name, rank=1) == expected, name


HOSTILE = {
    "nested repetition": "(a+)+" * 50,
    "empty repetition": r"(\w?.?)*" * 30,
    "optional characters": ".?" * 120,
    "alternatives": "(" + "|".join(f".*{char}{'.' * 14}" for char in "transforme") + ")*",
    "deep groups": "(" * 60 + "." + "*)" * 60,
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_patterns_take_little_time(pattern: str) -> None:
    start = time.process_time()
    read_patterns({f"{pattern}x{index}": 2 for index in range(100)})
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "pattern",
    [
        ".{9}",
        "((.{0,9}){0,9}){0,9}",
        r"(a)\1",
        "to_q(?=x)",
        "(?i)TO_Q",
        "(?P<name>to_q)",
        "to_q)|(to_k",
        "to_q++",
        "[[:alpha:]]",
        r"\pL",
        "*",
        "(",
        "to_q\n",
        "é",
        "a" * (MAX_PATTERN_CHARS + 1),
    ],
)
def test_unsupported_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(RefusedFile) as caught:
        read_patterns({pattern: 2})
    assert caught.value.code == "bad-alpha" and "alpha_pattern" in str(caught.value)


@pytest.mark.parametrize(("count", "chars"), [(MAX_PATTERNS + 1, 5), (MAX_CHARS // 200 + 1, 200)])
def test_too_many_patterns_are_refused(count: int, chars: int) -> None:
    with pytest.raises(RefusedFile) as caught:
        read_patterns({f"{index:0{chars}d}": 2 for index in range(count)})
    assert caught.value.code == "bad-alpha" and f"{count} patterns" in str(caught.value)


def test_a_pattern_per_module_is_supported() -> None:
    config = read_patterns({"^" + name.replace(".", r"\."): index for index, name in enumerate(NAMES)})
    assert [config.scale(name, rank=1) for name in NAMES] == list(range(len(NAMES)))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no json", "bad-alpha"),
        ("[" * 200_000, "bad-alpha"),
        ("[]", "bad-alpha"),
        ('{"lora_alpha": "8"}', "bad-alpha"),
        ('{"lora_alpha": NaN}', "bad-alpha"),
        ('{"lora_alpha": true}', "bad-alpha"),
        ('{"lora_alpha": 1e300}', "bad-alpha"),
        ('{"alpha_pattern": []}', "ok"),
        ('{"alpha_pattern": [1]}', "bad-alpha"),
        ('{"alpha_pattern": {"to_q": []}}', "bad-alpha"),
        ('{"use_dora": true}', "dora"),
    ],
)
def test_invalid_config_is_refused(text: str, code: str) -> None:
    if code == "ok":
        assert read_config({METADATA_KEY: text}, [TO_Q]).scale(TO_Q, rank=4) == 1.0
        return
    with pytest.raises(RefusedFile) as caught:
        read_config({METADATA_KEY: text}, [TO_Q])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("loha", {"alpha": "8"}),
        ("lokr", {"alpha": 8, "r": 0}),
        ("lokr", {"alpha": 8, "rank_pattern": {"to_q": 1e-300}}),
    ],
)
def test_invalid_config_of_another_kind_is_refused(kind: str, fields: dict[str, object]) -> None:
    with pytest.raises(RefusedFile) as caught:
        read_config(config_of(**fields), [TO_Q], kind)
    assert caught.value.code == "bad-alpha"
