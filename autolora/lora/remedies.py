"""What to do about a refused LoRA file, per reason code of `autolora.lora.verdict`.

`docs/howto/verdicts.md` shows the same sentences; a test compares them.
"""

REMEDIES: dict[str, str] = {
    "not-safetensors": (
        "Look at the downloaded content: it is often a login page or an archive. Unpack an archive and "
        "publish the file inside."
    ),
    "pickle": (
        "Ask the author for a safetensors file. Convert a pickle yourself only on a machine where it may run "
        "code."
    ),
    "truncated": "Download the file again. If the result is the same, the author's upload is incomplete.",
    "header-too-large": (
        "A LoRA's header takes a few hundred kilobytes. Ask the author to save the file again."
    ),
    "header-inconsistent": "The file is damaged or was built to mislead a reader. Do not use it.",
    "not-a-lora": "Extract a LoRA from the model first.",
    "wrong-base": (
        "Names, shapes and depth decide, not the hub's label. Use the LoRA with its own base, or set "
        "models.pipeline to that base if it is a FLUX.1."
    ),
    "control": (
        "The LoRA widens the image embedder and changes norms and biases. Use it with its own pipeline "
        "(FluxControlPipeline)."
    ),
    "text-encoder-only": "Load it with diffusers; AutoLoRA adapts only the transformer.",
    "no-slots": "Its updates are for the embedders or the final layer. Load it with diffusers.",
    "unknown-keys": "The message lists the first five names. Report the layout: every name must be known.",
    "duplicate-slot": "The file mixes two LoRAs or two layouts. Save them as two files.",
    "several-adapters": "Save one LoRA per file: save_pretrained(folder, selected_adapters=[name]).",
    "orphan": "The file was saved or merged incorrectly. Ask the author to save it again.",
    "shape-mismatch": (
        "The file was edited or merged incorrectly, or contains convolutions with a kernel larger than 1 × 1,"
        " which FLUX.1's blocks do not have. Ask the author to save it again."
    ),
    "rank-out-of-bounds": "Reduce the rank, or raise the limit.",
    "bad-dtype": "Save the weights as float16, bfloat16 or float32.",
    "bad-alpha": (
        "Alpha must be one number per module, and the patterns of alpha_pattern regular expressions of the "
        "supported kind. Remove the invalid entry if the scale should be 1."
    ),
    "nan-or-inf": "The training diverged. Use an earlier checkpoint.",
    "zero-effect": "The file was saved before training began. Use a later checkpoint.",
    "dora": "Train a plain LoRA, or extract one from the merged model.",
    "lokr": (
        "The message contains the rank, or the size in memory. Train with a smaller factor or rank and "
        "without full matrices, or extract a LoRA from the merged model."
    ),
    "loha": (
        "A LoHa of rank r has rank r². Train with a smaller rank, or extract a LoRA from the merged model."
    ),
    "tucker": "FLUX has no convolutions in its blocks: the file was made for another model.",
    "oft": "Train a plain LoRA, or extract one from the merged model.",
    "weight-diff": "Extract a LoRA from the differences. Differences that are all zero are ignored.",
    "lora-bias": 'Train it with bias="none" and lora_bias=False. Biases that are all zero are ignored.',
    "other-adapter": "Train a plain LoRA, or extract one from the merged model.",
    "quantized": "Publish the file in float16, bfloat16 or plain 8-bit floats.",
    "near-duplicate": (
        "The message names the original and lists the differences: strength, layout, rank, type. Use the "
        "original; pool.near_duplicate_cosine is the required similarity."
    ),
    "taken-down": "data/takedowns.jsonl has the reason (takedowns).",
}
"""in plain text"""
