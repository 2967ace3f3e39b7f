"""The stage `evaluation`: measure retrieval with captions of adapters unseen in training."""

from autolora import models
from autolora.evaluation import stage, store
from autolora.params import Params
from flows.stage import ROOT, flow, measured_on, params, run, task


@task()
def evaluate(values: Params) -> str:
    """Measure retrieval and write this stage's part of the report; return the digest."""
    models.set_threads(values.models)
    text_encoder = models.load_text_encoder(values.models)
    preset = values.encoder.preset if values.encoder.from_ is None else "pretrained"
    digest = stage.evaluate(ROOT, values.evaluation, text_encoder, preset, measured_on())
    if unmeasured := (store.read_report(ROOT) or {}).get("unmeasured"):
        print(f"[evaluation] {unmeasured}", flush=True)
    return digest


@flow(name="evaluation")
async def evaluation() -> None:
    """Evaluate the index."""
    evaluate(params())


if __name__ == "__main__":
    run(evaluation)
