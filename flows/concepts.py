"""Stage `concepts`: gradients of the base model on captioned images, and the phrases of their captions."""

from autolora.concepts import stage
from autolora.params import Params
from autolora.progress import track
from autolora.storage.inputs import recording_input
from flows.stage import ROOT, flow, params, print_and_log, run


def make_plan(values: Params) -> stage.Plan:
    """Read the captioned images; find those without a gradient."""
    tokens = values.generation.max_sequence_length
    return stage.make_plan(ROOT, values.concepts, values.models, values.pool, tokens)


def compute_gradients(plan: stage.Plan, values: Params) -> None:
    """Compute and store the missing gradients."""
    tokens = values.generation.max_sequence_length
    counts = stage.compute_gradients(ROOT, plan, values.concepts, values.models, values.pool, tokens)
    images = (image for count in counts for image in range(count))
    for _ in track(images, "concepts", len(plan.gradients.add), "images"):
        pass


def finish(plan: stage.Plan, values: Params) -> stage.Result:
    """Write the tables and the digest; the last step."""
    return stage.finish(ROOT, plan, values.concepts)


@flow(name="concepts")
def concepts() -> None:
    """Write data/concepts, metrics/concepts.json and digests/concepts.json."""
    values = params()
    with recording_input(ROOT, "concepts", values.concepts.corpus):
        plan = make_plan(values)
        compute_gradients(plan, values)
        print_and_log(f"[concepts] {finish(plan, values).summary}")


if __name__ == "__main__":
    run(concepts)
