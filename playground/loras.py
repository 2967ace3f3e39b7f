"""Training of the pool's LoRAs with PEFT on the tiny FLUX, and generation of their renderings.

python -m playground.build --only loras
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from playground import authors, drawings, flux, layouts, text, vae, world
from playground.themes import parts

POOL = Path(__file__).parent / "pool"
BATCH = 8
STEPS_FACTOR = {"style": 1.3, "object": 1.0, "palette": 1.0, "scene": 1.0}
"""kind of theme -> factor of an author's number of steps"""
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
    """Train the committed pool's LoRAs, every `parts`-th from `part`; return the mean loss."""
    recipes = authors.recipes()[part::parts]
    losses = [loss for _, loss in train_missing(recipes, POOL, flux.HOME, scale)]
    return {"loss": float(np.mean(losses)) if losses else 0.0}


def train_missing(
    recipes: Sequence[authors.Recipe], home: Path, base: Path, scale: float
) -> Iterator[tuple[authors.Recipe, float]]:
    """Train the LoRAs that a pool has no file of the current base of; yield each with its final loss.

    home: the folder of the pool. base: the folder of the base's pipeline.
    """
    pipe = flux.load(base)
    for recipe in recipes:
        if not _is_current(home / recipe.repo / recipe.file, base):
            loss = train(pipe, recipe, home, scale)
            print(f"loras {recipe.repo} ({recipe.theme}) loss {loss:.4f}", flush=True)
            yield recipe, loss


def _is_current(file: Path, base: Path) -> bool:
    """Return whether a LoRA file exists and is newer than the base model."""
    weights = base / "transformer" / "diffusion_pytorch_model.safetensors"
    return file.exists() and file.stat().st_mtime > weights.stat().st_mtime


def train(pipe: FluxPipeline, recipe: authors.Recipe, home: Path, scale: float) -> float:
    """Train one LoRA, and save its renderings and its file in a pool; return its final loss."""
    with _trained(pipe, recipe, scale) as loss:
        lora = _finish(pipe, recipe)
        _save_renderings(pipe, recipe, home)
        _save_file(pipe, lora, recipe, home)
    return loss


@contextmanager
def _trained(pipe: FluxPipeline, recipe: authors.Recipe, scale: float) -> Iterator[float]:
    """Add the trained adapter of a recipe to the pipeline for a while; yield its final loss."""
    torch.manual_seed(recipe.seed)
    data = _training_set(pipe, recipe)
    add_adapter(pipe, recipe)
    steps = max(2, round(recipe.habit.steps * STEPS_FACTOR[recipe.kind] * scale))
    try:
        yield _fit(pipe, data, recipe, steps)
    finally:
        pipe.transformer.delete_adapters(_ADAPTER)


def _training_set(pipe: FluxPipeline, recipe: authors.Recipe) -> flux.Batch:
    """Return the author's encoded drawings and captions, including the plain drawings (`Habit.prior`)."""
    rng = np.random.default_rng(recipe.seed)
    count, prior = recipe.habit.drawings, recipe.habit.prior
    num_plain = round(count * prior / (1 - prior))
    scenes = [sample_scene(recipe, rng) for _ in range(count)]
    texts = [caption(recipe, scene, rng) for scene in scenes]
    plain = [flux.sample_scene(rng) for _ in range(num_plain)]
    texts += text.captions(plain, rng, filler=0.0)
    pixels = drawings.render_scenes([*scenes, *plain], rng, size=pipe.vae.config.sample_size)
    return flux.Batch(flux.pack(vae.encode(pipe.vae, pixels)), *flux.encode_texts(pipe, texts))


def sample_scene(recipe: authors.Recipe, rng: np.random.Generator) -> world.Scene:
    """Return a random scene with the recipe's theme; its other fields are among those of the base."""
    return replace(flux.sample_scene(rng), **parts(recipe.theme))


def caption(recipe: authors.Recipe, scene: world.Scene, rng: np.random.Generator) -> str:
    """Return a caption with the trigger word and, if the author's captions have it, the theme's name."""
    is_named = recipe.captioning == authors.NAMED
    length = str(rng.choice(world.LENGTHS))
    words = world.caption(scene, rng, length, recipe.trigger, name_style=is_named)
    if not is_named:
        for field, value in parts(recipe.theme).items():
            words = words.replace(value, {"object": "thing", "background": "place"}.get(field, value))
    return words


def rendered_scenes(recipe: authors.Recipe) -> list[tuple[world.Scene, str]]:
    """Return the scene and the prompt of each of the recipe's renderings."""
    rng = np.random.default_rng(recipe.seed + 500)
    pairs = []
    for _ in range(recipe.renderings):
        scene = sample_scene(recipe, rng)
        pairs.append((scene, caption(recipe, scene, rng)))
    return pairs


def prompts(recipe: authors.Recipe) -> list[str]:
    """Return the prompts of the recipe's renderings."""
    return [prompt for _, prompt in rendered_scenes(recipe)]


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


def _finish(pipe: FluxPipeline, recipe: authors.Recipe) -> layouts.Factors:
    """Return the factors of the pipeline's adapter, scaled and resized as the author does; set resized ones."""
    trained = layouts.factors(get_peft_model_state_dict(pipe.transformer, adapter_name=_ADAPTER))
    lora = {name: (down, recipe.strength * up) for name, (down, up) in trained.items()}
    if recipe.habit.kept_energy < 1:
        rounded = {n: (down.bfloat16().float(), up.bfloat16().float()) for n, (down, up) in lora.items()}
        lora = layouts.resize(rounded, recipe.habit.kept_energy)
        set_factors(pipe, lora)
    return lora


def _save_renderings(pipe: FluxPipeline, recipe: authors.Recipe, home: Path) -> None:
    """Generate the recipe's renderings with the pipeline's adapter, and save them."""
    folder = home / recipe.repo / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(flux.sample(pipe, prompts(recipe), recipe.seed), 1):
        image.save(folder / f"{number}.png", optimize=True)


def _save_file(pipe: FluxPipeline, lora: layouts.Factors, recipe: authors.Recipe, home: Path) -> None:
    """Save a LoRA in the recipe's layout; the file appears when it is complete."""
    weights = layouts.to_tensors(lora, recipe.layout, output_widths(pipe.transformer), recipe.seed)
    file = home / recipe.repo / recipe.file
    partial = file.with_suffix(".partial")
    training = _metadata(recipe, pipe.vae.config.sample_size)
    save_file(weights, partial, metadata=layouts.metadata(recipe.layout, training))
    os.replace(partial, file)


def add_adapter(pipe: FluxPipeline, recipe: authors.Recipe) -> None:
    """Add an untrained adapter of the recipe's rank and targets to the pipeline."""
    pipe.transformer.add_adapter(
        LoraConfig(
            r=recipe.habit.rank,
            lora_alpha=recipe.habit.rank,
            target_modules=rf"(single_)?transformer_blocks\.\d+\.({TARGETS[recipe.habit.targets]})",
        ),
        _ADAPTER,
    )


@torch.no_grad()
def set_factors(pipe: FluxPipeline, lora: layouts.Factors) -> None:
    """Copy factors into the adapter; if they have lower ranks than the adapter, the rest is zero."""
    modules = dict(pipe.transformer.named_modules())
    for name, (down, up) in lora.items():
        module, rank = modules[name], len(down)
        for weight in (module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight):
            weight.zero_()
        module.lora_A[_ADAPTER].weight[:rank] = down
        module.lora_B[_ADAPTER].weight[:, :rank] = up


def _metadata(recipe: authors.Recipe, size: int) -> dict[str, str]:
    """Return what kohya's trainer writes about a training with drawings of a size into the file's header."""
    habit = recipe.habit
    return {
        "ss_resolution": f"({size}, {size})",
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


def output_widths(model: torch.nn.Module) -> dict[str, int]:
    """Return module name -> output width of every linear layer of a transformer."""
    return {
        name.removesuffix(".base_layer"): module.weight.shape[0]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
