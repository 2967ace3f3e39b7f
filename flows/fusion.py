"""Stage `fusion`: train the gates on the adapters of the training lock."""

from functools import partial

from autolora.fusion import stage
from autolora.params import Params
from autolora.processes import launch
from autolora.progress import Progress
from flows.stage import ROOT, flow, params, print_and_log, run


def train(values: Params) -> str:
    """Train the gates, save them and their digest; return a line on the training."""
    tokens, last = values.generation.max_sequence_length, ""

    def record(done: int, steps: int, loss: float) -> None:
        nonlocal last
        progress.reach(done)
        last = f"loss {loss:.3f}"

    with Progress("fusion", values.fusion.steps, "steps", detail=lambda: last) as progress:
        state = stage.train(ROOT, values.fusion, values.models, values.pool, tokens, record)
    done = f"{len(state.losses)} steps, loss {state.losses[-1]:.3f}"
    return f"{done}; kept the gates after step {state.best_step}" if state.held_out else done


@flow(name="fusion")
def fusion() -> None:
    """Write data/fusion and digests/fusion.json."""
    values = params()
    number, device = values.operation.processes, values.models.device
    print_and_log(f"[fusion] {launch(partial(train, values), number, device, 'fusion')}")


if __name__ == "__main__":
    run(fusion)
