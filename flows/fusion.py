"""The stage `fusion`: train the gates on the adapters of the training lock."""

from autolora.fusion import stage
from autolora.params import Params
from flows.stage import ROOT, params, prefect, run, task


@task()
def train(values: Params) -> str:
    """Train and save the gates; return their digest."""
    return stage.train(
        ROOT, values.fusion, values.models, values.pool, values.generation.max_sequence_length, show
    )


def show(done: int, steps: int, loss: float) -> None:
    """Print how far training is, every tenth of the way."""
    if done % max(1, steps // 10) == 0:
        print(f"[fusion] step {done} of {steps}, loss {loss:.3f}", flush=True)


@prefect.flow(name="fusion")
async def fusion() -> None:
    """Train the gates."""
    train(params())


if __name__ == "__main__":
    run(fusion)
