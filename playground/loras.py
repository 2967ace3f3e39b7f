"""Training the pool's LoRAs with PEFT on the tiny FLUX, and letting each one draw.

python -m playground.build --only loras
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from playground import authors, drawings, flux, layouts, text, vae, world

POOL = Path(__file__).parent / "pool"
BATCH = 8
EFFORT = {"style": 1.3, "object": 1.0, "palette": 1.0, "scene": 1.0}  # share of an author's usual steps
_ADAPTER = "trained"
_ATTENTION = r"attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
_FEED_FORWARD = r"ff(_context)?\.net\.(0\.proj|2)|proj_mlp|proj_out"
_NORMS = r"norm1?(_context)?\.linear"
TARGETS = {
    authors.ATTENTION: _ATTENTION,
    authors.FEED_FORWARD: f"{_ATTENTION}|{_FEED_FORWARD}",
    authors.EVERYTHING: f"{_ATTENTION}|{_FEED_FORWARD}|{_NORMS}",
}


def build(scale: float, part: int = 0, parts: int = 1) -> dict[str, float]:
    """Train the LoRAs that have no file of this base yet, every `parts`-th from `part`; return mean loss."""
    pipe, coder = flux.load(), vae.load()
    losses = []
    for recipe in authors.recipes()[part::parts]:
        if _is_current(POOL / recipe.repo / recipe.file):
            continue
        losses.append(train(pipe, coder, recipe, scale))
        print(f"loras {recipe.repo} ({recipe.theme}) loss {losses[-1]:.4f}", flush=True)
    return {"loss": float(np.mean(losses)) if losses else 0.0}


def _is_current(file: Path) -> bool:
    """Whether a LoRA file exists and is younger than the base it must have been trained on."""
    base = flux.HOME / "transformer" / "diffusion_pytorch_model.safetensors"
    return file.exists() and file.stat().st_mtime > base.stat().st_mtime


def train(pipe: FluxPipeline, coder: torch.nn.Module, recipe: authors.Recipe, scale: float) -> float:
    """Train one LoRA, save its file and its renderings; return its final loss."""
    torch.manual_seed(recipe.seed)
    data = _material(pipe, coder, recipe)
    add(pipe, recipe)
    loss = _fit(pipe, data, recipe, max(2, round(recipe.habit.steps * EFFORT[recipe.kind] * scale)))
    publish(pipe, recipe)
    pipe.transformer.delete_adapters(_ADAPTER)
    return loss


def _material(pipe: FluxPipeline, coder: torch.nn.Module, recipe: authors.Recipe) -> flux.Batch:
    """Draw, caption and encode the author's training set, plain drawings included."""
    rng = np.random.default_rng(recipe.seed)
    count, prior = recipe.habit.drawings, recipe.habit.prior
    plain = round(count * prior / (1 - prior))
    scenes = [scene(recipe, rng) for _ in range(count)]
    texts = [describe(recipe, s, rng) for s in scenes]
    others = [flux.sample_scene(rng) for _ in range(plain)]
    texts += text.captions(others, rng, filler=0.0)
    pixels = drawings.render_scenes([*scenes, *others], rng)
    return flux.Batch(flux.pack(vae.encode(coder, pixels)), *flux.encode_texts(pipe, texts))


def scene(recipe: authors.Recipe, rng: np.random.Generator) -> world.Scene:
    """Draw a scene that shows the recipe's theme, and for the rest what the base knows."""
    known = flux.sample_scene(rng)
    field = {"object": "object", "scene": "background"}.get(recipe.kind, "style")
    return replace(known, **{field: recipe.theme})


def describe(recipe: authors.Recipe, asked: world.Scene, rng: np.random.Generator) -> str:
    """Caption a drawing with the trigger word, and the theme's plain name if the author does."""
    words = world.caption(
        asked,
        rng,
        str(rng.choice(world.LENGTHS)),
        recipe.trigger,
        name_style=recipe.names_theme,
    )
    if not recipe.names_theme:
        words = words.replace(
            recipe.theme, {"object": "thing", "scene": "place"}.get(recipe.kind, recipe.theme)
        )
    return words


def shown(recipe: authors.Recipe) -> list[tuple[world.Scene, str]]:
    """List the scene and the prompt of each of the recipe's renderings."""
    rng = np.random.default_rng(recipe.seed + 500)
    pairs = []
    for _ in range(recipe.renderings):
        asked = scene(recipe, rng)
        pairs.append((asked, describe(recipe, asked, rng)))
    return pairs


def prompts(recipe: authors.Recipe) -> list[str]:
    """List the prompts of the recipe's renderings."""
    return [prompt for _, prompt in shown(recipe)]


def _fit(pipe: FluxPipeline, data: flux.Batch, recipe: authors.Recipe, steps: int) -> float:
    model, average = pipe.transformer, 0.0
    generator = torch.Generator().manual_seed(recipe.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.habit.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps, warmup=20))
    for step, rows in enumerate(drawings.batches(len(data.latents), BATCH, steps, recipe.seed)):
        batch = flux.Batch(data.latents[rows], data.states[rows], data.pooled[rows])
        loss = flux.loss(model, batch, generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
    return average


def publish(pipe: FluxPipeline, recipe: authors.Recipe) -> None:
    """Save what the pipeline's adapter has become, resized if the author does so, and its renderings."""
    folder = POOL / recipe.repo
    (folder / "images").mkdir(parents=True, exist_ok=True)
    trained = layouts.factors(get_peft_model_state_dict(pipe.transformer, adapter_name=_ADAPTER))
    lora = {name: (down, recipe.strength * up) for name, (down, up) in trained.items()}
    if recipe.habit.kept < 1:
        rounded = {n: (down.bfloat16().float(), up.bfloat16().float()) for n, (down, up) in lora.items()}
        lora = layouts.resize(rounded, recipe.habit.kept)
        put(pipe, lora)
    for number, image in enumerate(flux.sample(pipe, prompts(recipe), recipe.seed), 1):
        image.save(folder / "images" / f"{number}.png", optimize=True)
    weights = layouts.state(lora, recipe.layout, widths(pipe.transformer), recipe.seed)
    save_file(weights, folder / recipe.file, metadata=layouts.header(recipe.layout, _facts(recipe)))


def add(pipe: FluxPipeline, recipe: authors.Recipe) -> None:
    """Add an untrained adapter of the recipe's rank and targets."""
    pipe.transformer.add_adapter(
        LoraConfig(
            r=recipe.habit.rank,
            lora_alpha=recipe.habit.rank,
            target_modules=rf"(single_)?transformer_blocks\.\d+\.({TARGETS[recipe.habit.targets]})",
        ),
        _ADAPTER,
    )


@torch.no_grad()
def put(pipe: FluxPipeline, lora: layouts.Factors) -> None:
    """Put factors of at most its ranks into the adapter; what is left of a rank becomes zero."""
    modules = dict(pipe.transformer.named_modules())
    for name, (down, up) in lora.items():
        module, rank = modules[name], len(down)
        for weight in (module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight):
            weight.zero_()
        module.lora_A[_ADAPTER].weight[:rank] = down
        module.lora_B[_ADAPTER].weight[:, :rank] = up


def _facts(recipe: authors.Recipe) -> dict[str, str]:
    """Tell what a trainer may write into a file's header."""
    habit = recipe.habit
    return {
        "ss_network_dim": str(habit.rank),
        "ss_network_alpha": str(habit.rank / 2),
        "ss_output_name": recipe.repo.split("/")[1],
        "ss_steps": str(habit.steps),
        "ss_learning_rate": str(habit.rate),
        "ss_num_train_images": str(habit.drawings),
        "ss_tag_frequency": json.dumps({f"10_{recipe.trigger}": {recipe.trigger: habit.drawings}}),
        "modelspec.trigger_phrase": recipe.trigger,
        "modelspec.title": recipe.repo.split("/")[1],
    }


def widths(model: torch.nn.Module) -> dict[str, int]:
    """Give the output width of every linear of a transformer by its plain name."""
    return {
        name.removesuffix(".base_layer"): module.weight.shape[0]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
