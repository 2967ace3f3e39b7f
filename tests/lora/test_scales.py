"""The adapter config in the header determines the scale."""

import json

import pytest

from autolora.errors import RefusedFile
from autolora.lora.scales import METADATA_KEY, read_config

TO_Q = "transformer_blocks.1.attn.to_q"


def config_of(**fields: object) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(fields)}


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, 1.0),
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
    ],
)
def test_scale_follows_the_adapter_config(fields: dict[str, object], scale: float) -> None:
    assert read_config(config_of(**fields)).scale(TO_Q, rank=4) == scale


def test_hostile_patterns_are_not_evaluated() -> None:
    config = read_config(config_of(lora_alpha=4, alpha_pattern={"(a+)+b" * 50: 2, "(.*)*" * 50: 2}))
    assert config.scale("a" * 4000, rank=4) == 1.0


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
        assert read_config({METADATA_KEY: text}).scale(TO_Q, rank=4) == 1.0
        return
    with pytest.raises(RefusedFile) as caught:
        read_config({METADATA_KEY: text})
    assert caught.value.code == code
