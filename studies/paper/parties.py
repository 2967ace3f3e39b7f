"""The check that no judge is a party: none of the models that draw, encode or caption also scores.

Params compare names; here contents are compared, so that a copy in another folder is found too.
"""

from typing import Any

import torch
from torch import Tensor

from autolora import vlm
from autolora.errors import ParamsError
from autolora.metrics.judges import Judges
from autolora.params import Params


def check_judges(params: Params, judges: Judges, pipeline: Any) -> None:
    """Raise ParamsError if the judge CLIP has the pipeline's text encoder in it, or the judge VLM wrote the captions.

    pipeline: a FluxPipeline, whose CLIP text encoder also reads the prompts of searches.
    """
    if shares_text_tower(judges.clip.model, pipeline.text_encoder):
        raise ParamsError(
            f"judges.clip is {params.judges.clip}, whose text model is the text encoder of models.pipeline, but a "
            "judge must not draw the images that it scores: set judges.clip to another CLIP, such as the one in "
            "profiles/flux.1-dev.yaml"
        )
    if judges.facts["vlm"] == vlm.digest(params.models):
        raise ParamsError(
            f"judges.vlm is {params.judges.vlm}, which equals models.vlm, but the models learned from its captions: "
            "set judges.vlm to another model"
        )


def shares_text_tower(clip: Any, text_encoder: Any) -> bool:
    """Return whether the last layer norm and the token embedding of both are equal, in the coarser precision."""
    ours, theirs = (_tensors(model) for model in (clip, text_encoder))
    common = ours.keys() & theirs.keys()
    return bool(common) and all(_are_equal(ours[name], theirs[name]) for name in common)


def _tensors(model: Any) -> dict[str, Tensor]:
    """Return the two tensors by the ends of their names, which differ between a CLIPModel and a CLIPTextModel."""
    ends = ("embeddings.token_embedding.weight", "final_layer_norm.weight", "final_layer_norm.bias")
    return {
        end: tensor.detach().cpu()
        for name, tensor in model.state_dict().items()
        for end in ends
        if name.endswith(end)
    }


def _are_equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    coarser = min(first.dtype, second.dtype, key=lambda dtype: torch.finfo(dtype).bits)
    return torch.equal(first.to(coarser), second.to(coarser))
