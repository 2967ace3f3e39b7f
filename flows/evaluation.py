"""The stage `evaluation`: measure retrieval with captions of adapters unseen in training."""

from autolora import models
from autolora.evaluation import stage, store
from autolora.text_encoder.sentences import open_language
from flows.stage import ROOT, flow, measured_on, params, print_and_log, run


@flow(name="evaluation")
def evaluation() -> None:
    """Measure retrieval and write this stage's part of the report."""
    values = params()
    models.set_threads(values.models)
    sentences = open_language(ROOT, values.encoder)
    stage.evaluate(ROOT, values, models.load_text_encoder(values.models), sentences, measured_on())
    if unmeasured := (store.read_report(ROOT) or {}).get("unmeasured"):
        print_and_log(f"[evaluation] {unmeasured}")


if __name__ == "__main__":
    run(evaluation)
