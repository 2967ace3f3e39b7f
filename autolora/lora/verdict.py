"""Verdicts: the reason codes of refused LoRA files and the warning codes of accepted ones.

`docs/howto/verdicts.md` lists both tables; a test compares them with this module.
"""

from autolora.errors import RefusedFile

MAX_DETAIL_CHARS = 1000

REASONS: dict[str, str] = {
    "not-safetensors": "the file is not in the safetensors format",
    "pickle": "the file is a Python pickle, which could run code when loaded; it was not opened",
    "truncated": "the file is shorter than its header requires",
    "header-too-large": "the file's header is too large",
    "header-inconsistent": "the file's header contradicts itself or the file",
    "not-a-lora": "the file contains no LoRA weights; it may be a full model",
    "wrong-base": "the LoRA was made for a different base model",
    "control": "the LoRA was made for a transformer that also takes a control image (depth, edges)",
    "text-encoder-only": "the LoRA changes only the text encoders",
    "no-slots": "the LoRA changes only parts of the transformer that AutoLoRA does not adapt",
    "unknown-keys": "too many tensors have names that match no known layout",
    "duplicate-slot": "two groups of tensors in the file update the same linear layer",
    "several-adapters": "the file contains several LoRAs, each under its own PEFT adapter name",
    "orphan": "a tensor of a low-rank update is present, but its counterpart is missing",
    "shape-mismatch": "a tensor's shape does not match its linear layer",
    "rank-out-of-bounds": "the rank of an update is 0 or above pool.max_rank",
    "bad-dtype": "the weights are not stored as floating-point numbers",
    "bad-alpha": "the scale (alpha) of the LoRA cannot be read",
    "nan-or-inf": "the weights are not finite numbers, or so large that they overflow",
    "zero-effect": "the LoRA changes nothing: every update is zero, or all are too small to have an effect",
    "dora": "the file is a DoRA (weight-decomposed), which is not a low-rank update",
    "lokr": "the file is a LoKr (Kronecker factors) whose exact low-rank form is too large",
    "loha": "the file is a LoHa (Hadamard factors) whose exact low-rank form is too large",
    "tucker": "the file contains core tensors (Tucker), which only convolutions have",
    "oft": "the file is an OFT or BOFT (rotations), which is not a low-rank update",
    "weight-diff": "the file contains full weight differences, in addition to or instead of low-rank updates",
    "lora-bias": "the LoRA also changes biases, which a low-rank update cannot represent",
    "other-adapter": "the file is another kind of adapter (GLoRA, IA³, VeRA, …), which is not a low-rank update",
    "quantized": "the weights are quantized or packed and cannot be used without their quantization scales",
    "near-duplicate": "the pool already contains this LoRA in another form",
    "taken-down": "the file was taken down here and stays out of the pool",
}

WARNINGS: dict[str, str] = {
    "ignored-keys": "tensors of parts that AutoLoRA does not adapt are ignored, or tensors without effect",
    "some-unknown-keys": "tensors whose names match no known layout are ignored",
    "scale-assumed": "the file does not contain alpha, and its tool stores alpha in another file; scale 1 is assumed",
    "scale-large": "alpha is more than 4 times the rank in a module: the LoRA may overpower others",
    "scale-small": "alpha is less than 1/20 of the rank in a module: the LoRA may have little effect",
    "full-rank": "the file is a LoKr of a rank above pool.max_rank: it is searched, but not drawn, fused or exported",
    "initialized": "trained by PiSSA, OLoRA or the like, for changed weights of the base: it has another effect here",
    "fp8": "the weights are stored in 8 bits: the update is coarse",
    "exact-duplicate": "the same bytes are listed in several places: one adapter with several sources",
}
"""Peculiarities of accepted files."""


FULL_RANK = "full-rank"
"""the warning about files whose updates are not low-rank factors"""


def refusal(code: str, detail: str) -> RefusedFile:
    """Return the error for a documented reason code; `detail` names the tensor or the number that decided.

    Names in a file are untrusted text: unprintable characters, which could control a terminal, become question
    marks.
    """
    printable = "".join(char if char.isprintable() else "?" for char in detail[:MAX_DETAIL_CHARS])
    return RefusedFile(code, f"{REASONS[code]}: {printable}")
