"""The tiny AutoencoderKL: 64x64 pixels to 16 x 8 x 8 latents, trained on the whole drawn world.

It encodes larger drawings as well: their error is smaller, since the same shapes have more pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from playground import drawings

HOME = Path(__file__).parent / "models" / "flux" / "vae"
DRAWINGS, BATCH, STEPS, RATE, EMA = 12000, 12, 5000, 2e-3, 0.998
CROP, CROP_BATCH, CROP_SHARE = 32, 24, 0.7  # the first share of the steps is cheaper: it uses crops
KL = 1e-6  # weight of the KL term, per latent value
EDGES = 0.5  # weight of the L1 between horizontal and vertical differences
FILLS = 4.0  # weight of the squared error of 4 x 4 means; without it colours remain grey


def config() -> AutoencoderKL:
    """Return an untrained autoencoder with four levels and 16 latent channels, like that of FLUX.1."""
    levels = 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def loss(model: AutoencoderKL, image: torch.Tensor) -> torch.Tensor:
    """Return L1 + edge L1 + squared error of fills + small KL of images in [-1, 1]."""
    posterior = model.encode(image).latent_dist
    output = model.decode(posterior.sample()).sample
    edges = F.l1_loss(output.diff(dim=2), image.diff(dim=2))
    edges = edges + F.l1_loss(output.diff(dim=3), image.diff(dim=3))
    fills = F.mse_loss(F.avg_pool2d(output, 4), F.avg_pool2d(image, 4))
    total: torch.Tensor = (
        F.l1_loss(output, image) + EDGES * edges + FILLS * fills + KL * posterior.kl().mean()
    )
    return total


def crop(image: torch.Tensor) -> torch.Tensor:
    """Return the same random 32x32 square of all images (B, 3, 64, 64)."""
    y, x = (8 * torch.randint((image.shape[-1] - CROP) // 8 + 1, (2,))).tolist()
    return image[..., y : y + CROP, x : x + CROP]


def build(scale: float, seed: int) -> dict[str, float]:
    """Train the autoencoder for `scale` times its steps, set the scale of its latents, and save it."""
    torch.manual_seed(seed)
    steps = max(2, round(STEPS * scale))
    pixels, _ = drawings.render(max(200, round(DRAWINGS * min(1, scale))), seed)
    model = config()
    model, average = _train(model, pixels, steps, seed)
    model.eval()
    latents = encode(model, pixels[:512], scaled=False)
    model.register_to_config(
        scaling_factor=round(1 / latents.std().item(), 5),
        shift_factor=round(latents.mean().item(), 5),
    )
    HOME.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(HOME)
    fresh, _ = drawings.render(200, seed + 1)
    model.float()
    error = (decode(model, encode(model, fresh)).float() - fresh.float()).abs().mean().item()
    return {"loss": average, "mean_error_of_255": round(error, 2)}


def _train(model: AutoencoderKL, pixels: torch.Tensor, steps: int, seed: int) -> tuple[AutoencoderKL, float]:
    average, averaged = 0.0, drawings.MovingAverage(model, EMA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(pixels), CROP_BATCH, steps, seed)):
        image = drawings.to_signed(pixels[rows])
        image = crop(image) if step < CROP_SHARE * steps else image[:BATCH]
        with drawings.precision():
            value = loss(model, image)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update(model, step)
        average = value.item() if step == 0 else 0.95 * average + 0.05 * value.item()
        if step % 50 == 0:
            print(f"vae {step}/{steps} loss {average:.4f}", flush=True)
    return averaged.model, average


def load() -> AutoencoderKL:
    """Return the saved autoencoder, in float32 and eval mode."""
    return AutoencoderKL.from_pretrained(HOME, torch_dtype=torch.float32).eval()


@torch.no_grad()
def encode(model: AutoencoderKL, pixels: torch.Tensor, scaled: bool = True) -> torch.Tensor:
    """Return the latents (N, 16, H/8, W/8) of uint8 pixels (N, 3, H, W), normalized if `scaled`."""
    parts = [model.encode(drawings.to_signed(p)).latent_dist.mode() for p in torch.split(pixels, 64)]
    latents = torch.cat(parts)
    if scaled:
        latents = (latents - model.config.shift_factor) * model.config.scaling_factor
    return latents


@torch.no_grad()
def decode(model: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Return the uint8 pixels (N, 3, H, W) of normalized latents (N, 16, H/8, W/8)."""
    raw: torch.Tensor = latents / model.config.scaling_factor + model.config.shift_factor
    output = torch.cat([model.decode(part).sample for part in torch.split(raw, 64)])
    return ((output + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
