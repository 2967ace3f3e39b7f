"""Stage `fusion`: train the gates on the adapters of the training lock, or take pretrained ones as they are."""

from autolora.fusion import stage
from autolora.params import Params
from flows.stage import ROOT, flow, params, print_and_log, run, task

PROGRESS_LINES = 10


@task()
def train(values: Params) -> str:
    """Train the gates, save them and their digest; return its sha256."""
    tokens = values.generation.max_sequence_length
    return stage.train(ROOT, values.fusion, values.models, values.pool, tokens, show_progress)


@task()
def use_pretrained(values: Params) -> str:
    """Save the pretrained gates and their digest; return where they lie."""
    return stage.use_pretrained(ROOT, values.fusion, values.models)


def show_progress(done: int, steps: int, loss: float) -> None:
    """Report the progress of training after every tenth of the steps."""
    if done % max(1, steps // PROGRESS_LINES) == 0:
        print_and_log(f"[fusion] step {done} of {steps}, loss {loss:.3f}")


@flow(name="fusion")
async def fusion() -> None:
    """Write data/fusion and digests/fusion.json."""
    values = params()
    if values.fusion.from_ is None:
        train(values)
    else:
        print_and_log(f"[fusion] pretrained, from {use_pretrained(values)}")


if __name__ == "__main__":
    run(fusion)
