"""Train the encoder on the adapters of the training lock."""

import prefect
from rich.progress import track

from autolora.encoder import stage
from autolora.models import load_text_encoder, set_threads, transformer_config
from autolora.params import EncoderParams, ModelsParams, PoolParams
from flows.stage import ROOT, params, run, task


@task()
def train(section: EncoderParams, models: ModelsParams, bounds: PoolParams) -> str:
    """Train from the first step to the last, then save encoder and digest; return how it went."""
    set_threads(models)
    steps = stage.train(
        ROOT, section, transformer_config(models), load_text_encoder(models), bounds, models.device
    )
    *_, last = track(steps, "training the encoder", total=section.steps)
    return f"loss {last.loss:.3f}, temperature {last.temperature:.3f}"


@prefect.flow(name="encoder")
async def encoder() -> None:
    """Make data/encoder and digests/encoder.json."""
    print(train(params().encoder, params().models, params().pool))


if __name__ == "__main__":
    run(encoder)
