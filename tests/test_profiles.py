"""The profile for FLUX.1-dev on one GPU: what it would do there, as far as a machine without a GPU can check it."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from autolora.errors import ParamsError
from autolora.params import load
from autolora.planning.plan import make_plan
from autolora.vlm.in_process import InProcessModel
from autolora.vlm.server import server_options
from tests.support.tiny_judges import save_llava

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "profiles" / "flux.1-dev.yaml"
PARAMS = load(PROFILE)
WORDS_OF_INSTRUCTION = 64
QWEN_PATCH, QWEN_MERGE = 14, 2
"""of Qwen2.5-VL's image processor: one token stands for (14 · 2)² px"""


def test_every_hub_id_is_pinned_to_a_commit() -> None:
    names = {"models": ("pipeline", "vlm"), "judges": ("clip", "vlm")}
    for section, keys in names.items():
        values = asdict(getattr(PARAMS, section))
        for key in keys:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", values[key])
            assert re.fullmatch(r"[0-9a-f]{40}", values[f"{key}_revision"])


def test_the_judges_neither_caption_nor_generate() -> None:
    assert PARAMS.judges.vlm.split("/")[0] != PARAMS.models.vlm.split("/")[0]
    assert PARAMS.judges.clip != "openai/clip-vit-large-patch14"  # FLUX.1-dev's text encoder


def test_a_judge_that_writes_the_captions_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(PROFILE.read_text())
    content["judges"]["vlm"] = content["models"]["vlm"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(
        ParamsError, match=r"judges\.vlm is 'Qwen/.* but must be another model than models\.vlm"
    ):
        load(path)


def test_every_stage_fits_on_the_card_beside_the_server_and_a_first_run_into_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autolora.planning.plan.card_bytes", lambda: None)
    plan = make_plan(PARAMS, None)
    assert plan.workload.adapters == PARAMS.crawl.max_new_files
    assert not [lack for lack in plan.lacks if "card" in lack or " h, " in lack]
    gigabytes = {stage.stage: stage.gpu_memory / 1e9 for stage in plan.stages}
    assert gigabytes["fusion"] == pytest.approx(
        38, abs=3
    )  # 34 of weights, checkpointed activations of a block
    assert gigabytes["experiments"] < 60
    assert plan.server_gpu_memory > 2 * 8.3e9  # the captioning model's weights in 16 bits
    assert plan.total["memory"] < 64e9


def test_the_first_day_has_an_end() -> None:
    assert None not in (PARAMS.crawl.max_new_files, PARAMS.crawl.min_free_gb)


@pytest.mark.slow
def test_a_judge_of_the_profiles_kind_answers_in_bfloat16(tmp_path: Path) -> None:
    models = replace(PARAMS.models, vlm=str(save_llava(tmp_path / "llava")), device="cpu", threads=1)
    judge = InProcessModel(models, batch=2)
    images = [Image.new("RGB", (64, 40), color) for color in ("red", "blue", "green")]
    answers = judge.yes_probabilities(images, [PARAMS.judges.question.format(text="a cat")] * 3)
    assert all(0 < answer < 1 for answer in answers)
    assert len(set(answers)) > 1


def test_the_servers_context_holds_the_largest_image() -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    side, factor = PARAMS.captions.max_image_side, QWEN_PATCH * QWEN_MERGE
    height, width = smart_resize(side, side, factor, min_pixels=1, max_pixels=10**9)
    image = height * width // factor**2
    longest = max(len(text.split()) for text in asdict(PARAMS.captions.instructions).values())
    assert longest < WORDS_OF_INSTRUCTION
    needed = image + 4 * WORDS_OF_INSTRUCTION + PARAMS.captions.max_tokens
    options = server_options(PARAMS.models.vlm, PARAMS.models.vlm_revision, "name", 8000, "vllm")
    assert needed <= int(options[options.index("--max-model-len") + 1])
