"""Verdicts: the codes a LoRA file is refused with, and those of warnings beside an acceptance.

`docs/howto/verdicts.md` is tested against this.
"""

from autolora.errors import RefusedFile

LONGEST = 1000
"""characters of a detail"""

REASONS: dict[str, str] = {
    "not-safetensors": "the file is not in the safetensors format",
    "pickle": "the file is a Python pickle, which could run code when loaded; it was not opened",
    "truncated": "the file ends before its header says it does",
    "header-too-large": "the file's header is larger than pool.max_header_mb",
    "header-inconsistent": "the file's header contradicts itself or the file",
    "not-a-lora": "the file holds no LoRA weights; it may be a full model",
    "wrong-base": "the LoRA was made for another base model",
    "control": "the LoRA was made for a transformer that also takes a control image (depth, edges)",
    "text-encoder-only": "the LoRA changes nothing but the text encoders",
    "no-slots": "the LoRA changes only parts of the transformer that AutoLoRA does not adapt",
    "unknown-keys": "too many of the file's tensors have names that no known layout explains",
    "slot-twice": "two groups of tensors in the file claim the same linear layer",
    "orphan": "one half of a low-rank update is there without the other",
    "shape-mismatch": "a tensor does not fit the linear layer it is meant for",
    "rank-out-of-bounds": "the rank of an update is 0 or above pool.max_rank",
    "bad-dtype": "the weights are stored in a type that is no floating-point type",
    "bad-alpha": "the scale (alpha) of the LoRA cannot be read",
    "nan-or-inf": "the weights are not finite numbers, or so large that they overflow",
    "zero-effect": "the LoRA changes nothing: every update is exactly zero",
    "dora": "the file is a DoRA (weight-decomposed), which is no low-rank update",
    "lokr": "the file is a LoKr (Kronecker factors) whose exact low-rank form is too large",
    "loha": "the file is a LoHa (Hadamard factors) whose exact low-rank form is too large",
    "tucker": "the file holds core tensors (Tucker), which only convolutions have",
    "oft": "the file is an OFT or BOFT (rotations), which is no low-rank update",
    "weight-diff": "the file holds full weight differences beside or in place of low-rank updates",
    "lora-bias": "the LoRA also changes biases, which a low-rank update cannot hold",
    "other-adapter": "the file is another kind of adapter (GLoRA, IA³, VeRA, …), which is no low-rank update",
    "quantized": "the weights are quantized or packed: they mean nothing without the scales beside them",
    "near-duplicate": "the LoRA is one that the pool has already, saved anew",
}

WARNINGS: dict[str, str] = {
    "set-aside": "parts of the file are for the text encoders, the embedders or the final layer; they are not used",
    "passed-over": "the file has tensors with names that no known layout explains; they are not used",
    "scale-assumed": "the file does not say its scale and comes from a tool that keeps it elsewhere; 1 was taken",
    "scale-large": "alpha is more than 4 times the rank in a module: the LoRA may overpower others",
    "scale-small": "alpha is less than a 20th of the rank in a module: the LoRA may do very little",
    "fp8": "the weights are stored in 8 bits: the update is coarse",
    "exact-duplicate": "the same bytes are listed in several places: one adapter with several origins",
}
"""What is odd about a file that is accepted all the same."""


def refusal(code: str, detail: str) -> RefusedFile:
    """Return the error for a documented reason code; `detail` says which tensor or number it was.

    Names in a file are a stranger's text: what a terminal could take for a command becomes a question mark.
    """
    shown = "".join(sign if sign.isprintable() else "?" for sign in detail[:LONGEST])
    return RefusedFile(code, f"{REASONS[code]}: {shown}")
