"""Flow matching: noise levels, noise, and images as the pipeline reads them."""

from typing import Any

import pytest
import torch
from PIL import Image

from autolora.fusion.flow_matching import (
    ENCODE_BATCH,
    NUM_NOISE_LEVELS,
    TRUNCATING_LOGGERS,
    add_noise,
    encode_captions,
    encode_images,
    predict_velocity,
    shifted_sigmas,
)
from tests.support.tiny_flux import TOKENS, build_pipeline


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return build_pipeline()


def test_noise_levels_are_shifted_towards_noise() -> None:
    sigmas = shifted_sigmas(3.0)
    assert len(sigmas) == NUM_NOISE_LEVELS
    assert sigmas[0] == 1 and bool((sigmas.diff() < 0).all())
    assert sigmas[NUM_NOISE_LEVELS // 2].item() == pytest.approx(0.75)  # 3·½ / (1 + 2·½)
    assert torch.equal(shifted_sigmas(1.0), torch.linspace(1, 1 / NUM_NOISE_LEVELS, NUM_NOISE_LEVELS))


def test_noise_of_level_one_leaves_nothing_of_the_image() -> None:
    clean, noise = torch.ones(2, 4, 16), torch.full((2, 4, 16), 3.0)
    captions = (torch.zeros(2, 5, 16), torch.zeros(2, 16))
    batch = add_noise(clean, noise, torch.tensor([0.25, 1.0]), captions, torch.device("cpu"))
    assert batch.noised[0].unique().item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert torch.equal(batch.noised[1], noise[1])
    assert torch.equal(batch.velocity, noise - clean)


def test_images_are_cropped_to_their_central_square(pipeline: Any) -> None:
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste(Image.effect_noise((32, 32), 90).convert("RGB"), (32, 0))
    (latents, square) = encode_images(pipeline, [wide, wide.crop((32, 0, 64, 32))], 32)
    assert latents.shape == (4, 16)
    assert torch.equal(latents, square)


def test_the_pipeline_decodes_the_latents_of_an_image(pipeline: Any) -> None:
    """FluxPipeline divides by the scale and adds the shift before it decodes."""
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    latents = pipeline._unpack_latents(
        encode_images(pipeline, [image], 32), 32, 32, pipeline.vae_scale_factor
    )
    decoded = latents / pipeline.vae.config.scaling_factor + pipeline.vae.config.shift_factor
    encoded = pipeline.vae.encode(pipeline.image_processor.preprocess(image)).latent_dist.mode()
    torch.testing.assert_close(decoded, encoded)


def test_batches_of_the_encoders_do_not_show(pipeline: Any) -> None:
    images = [Image.new("RGB", (32, 32), (7 * shade, 0, 99)) for shade in range(ENCODE_BATCH + 2)]
    torch.testing.assert_close(
        encode_images(pipeline, images, 32)[-1:], encode_images(pipeline, images[-1:], 32)
    )
    texts = [f"caption {chr(97 + index)}" for index in range(ENCODE_BATCH + 2)]
    for part, whole in zip(
        encode_captions(pipeline, texts[-1:], TOKENS), encode_captions(pipeline, texts, TOKENS), strict=True
    ):
        torch.testing.assert_close(part, whole[-1:])


def test_each_sample_is_predicted_by_itself(pipeline: Any) -> None:
    latents = encode_images(pipeline, [Image.new("RGB", (32, 32), color) for color in ("red", "blue")], 32)
    captions = encode_captions(pipeline, ["a cat", "a dog"], TOKENS)
    both = add_noise(latents, torch.ones_like(latents), torch.tensor([0.2, 0.8]), captions, latents.device)
    second = add_noise(
        latents[1:],
        torch.ones_like(latents[1:]),
        torch.tensor([0.8]),
        (captions[0][1:], captions[1][1:]),
        latents.device,
    )
    transformer = pipeline.transformer
    with torch.no_grad():
        torch.testing.assert_close(
            predict_velocity(transformer, second, 1.0), predict_velocity(transformer, both, 1.0)[1:]
        )


def test_long_captions_are_truncated_without_a_warning(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    long = "a cat " * TOKENS
    states, _ = encode_captions(pipeline, [long], TOKENS)
    assert states.shape[1] == TOKENS
    assert not caplog.records
    pipeline.encode_prompt(prompt=[long], prompt_2=None, max_sequence_length=TOKENS)
    assert {record.name for record in caplog.records} >= {TRUNCATING_LOGGERS[0]}, "its level is restored"
