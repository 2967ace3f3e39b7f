"""A tiny repository in which the paper's experiments run: random models and judges, images of 32 px in two steps."""

import json
from pathlib import Path

import yaml

from autolora.params import load
from autolora.text_encoder.sentences import open_language
from tests.support import small_root, tiny_judges
from tests.support.tiny_flux import TOKENS

STEPS_OF_GATES = 2


def build(root: Path) -> Path:
    """Build a repository up to its index, with params.yaml, judgments and judges; return its root.

    Of its twelve adapters, three per theme (two objects, two styles), some are unseen.
    """
    base = small_root.base(root)
    themes = small_root.build(root, base)
    judgments = {sha256: {"theme": t, "kind": small_root.KINDS[t]} for sha256, t in themes.items()}
    (root / "themes.json").write_text(json.dumps(judgments))
    judges = tiny_judges.params(root / "judges")
    vlm = tiny_judges.save_llava(root / "captioner")
    values = yaml.safe_load((small_root.REPOSITORY / "params.yaml").read_text())
    values["models"] |= {"pipeline": base.pipeline, "vlm": str(vlm), "threads": 1}
    values["judges"] |= {"clip": judges.clip, "vlm": judges.vlm, "classifier": judges.classifier}
    values["generation"] |= {"width": 32, "height": 32, "steps": 2, "max_sequence_length": TOKENS}
    values["fusion"] |= {"steps": STEPS_OF_GATES, "batch": 2, "image_size": 32}
    values["pool"] |= {"sketch_size": small_root.SKETCH_SIZE}
    values["evaluation"] |= {"themes": "themes.json"}
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    small_root.teach_sentences(root, base, open_language(root, load(root / "params.yaml").encoder))
    return root
