"""Stage `encoder`: train the encoder on the adapters of the training lock, or use a published one."""

from contextlib import ExitStack
from functools import partial

from autolora.encoder import stage
from autolora.errors import OutOfMemory
from autolora.gpu_memory import LOWER
from autolora.models import load_text_encoder, set_threads, transformer_config
from autolora.params import Params
from autolora.planning.plan import encoder_lack
from autolora.processes import launch
from autolora.progress import Progress
from autolora.publication import encoder as publication
from autolora.storage.inputs import recording_input
from autolora.text_encoder.sentences import open_language
from flows.stage import ROOT, flow, params, print_and_log, run


def train(values: Params) -> str:
    """Train the encoder, save it and its digest; return the values of the last step.

    Raises OutOfMemory before anything is read if the card or the machine has too little for it.
    """
    section, models = values.encoder, values.models
    set_threads(models)
    if lack := encoder_lack(values, ROOT):
        raise OutOfMemory(f"{lack}: lower {LOWER['encoder']}")
    sentences = open_language(ROOT, section)
    steps = stage.train(
        ROOT,
        section,
        transformer_config(models),
        load_text_encoder(models),
        values.pool,
        models.device,
        sentences,
    )
    with Progress("encoder", noun="steps") as progress:
        for step in steps:
            progress.total = step.total
            progress.reach(step.number)
    return ", ".join(f"{name} {value:.3f}" for name, value in step.values.items())


def use_published(values: Params) -> str:
    """Save the published encoder and its digest; return what was used."""
    text_encoder = load_text_encoder(values.models)
    source = publication.use_published(
        ROOT, values.encoder, transformer_config(values.models), text_encoder, values.pool
    )
    return f"published, from {source}"


@flow(name="encoder")
def encoder() -> None:
    """Write data/encoder and digests/encoder.json."""
    values = params()
    section = values.encoder
    make = partial(train if section.from_ is None else use_published, values)
    number = values.operation.processes if section.trains_transformer else 1
    inputs = {
        "encoder.from": section.from_,
        "encoder.language": section.language if section.has_language else None,
    }
    with ExitStack() as recording:
        for name, path in inputs.items():
            recording.enter_context(recording_input(ROOT, name, path))
        print_and_log(f"[encoder] {launch(make, number, values.models.device, 'encoder')}")


if __name__ == "__main__":
    run(encoder)
