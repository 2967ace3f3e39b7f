"""studies.paper.parties: no judge is a party."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from autolora import vlm
from autolora.errors import ParamsError
from studies.paper.parties import check_judges, shares_text_tower
from studies.paper.world import World

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def clip_pair(dtype: torch.dtype = torch.float32) -> tuple[CLIPModel, CLIPTextModel]:
    """Return a CLIP, and its text model as a pipeline has it, in a precision."""
    text = CLIPTextConfig(vocab_size=80, **SMALL)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=dict(SMALL), projection_dim=8))
    tower = CLIPTextModel(text)
    ends = {name.rpartition("text_model.")[2]: tensor for name, tensor in clip.state_dict().items()}
    tower.load_state_dict({name: ends[name.rpartition("text_model.")[2]] for name in tower.state_dict()})
    return clip, tower.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_of_the_text_encoder_is_found(dtype: torch.dtype) -> None:
    clip, tower = clip_pair(dtype)
    assert shares_text_tower(clip, tower)
    assert not shares_text_tower(clip, clip_pair(dtype)[1])


def test_a_judge_with_the_text_encoder_of_the_pipeline_is_refused(world: World) -> None:
    clip, tower = clip_pair()
    judges = replace(world.judges, clip=replace(world.judges.clip, model=clip))
    with pytest.raises(ParamsError, match=r"judges.clip is .* set judges.clip to another CLIP"):
        check_judges(world.params, judges, SimpleNamespace(text_encoder=tower))


def test_a_copy_of_the_captioning_model_is_refused(world: World) -> None:
    facts = world.judges.facts | {"vlm": vlm.digest(world.params.models)}
    with pytest.raises(ParamsError, match=r"judges.vlm is .* which equals models.vlm"):
        check_judges(world.params, replace(world.judges, facts=facts), world.generator.pipeline)


def test_the_judges_of_the_world_are_accepted(world: World) -> None:
    check_judges(world.params, world.judges, world.generator.pipeline)


def test_the_profile_of_flux_names_judges_that_are_no_parties() -> None:
    from autolora.params import load

    params = load(Path(__file__).parents[3] / "profiles" / "flux.1-dev.yaml")
    assert params.judges.vlm != params.models.vlm and "clip-vit-large-patch14" not in params.judges.clip
