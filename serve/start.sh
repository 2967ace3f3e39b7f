#!/usr/bin/env bash
# start.sh [MODEL] [PORT] [REVISION] [OPTION ...]: serve a vision-language model with vLLM on 127.0.0.1, for captions.engine: vllm.
#   MODEL     a folder or a hub id; default playground/models/vlm
#   PORT      default 8000
#   REVISION  the commit, required with a hub id: models.vlm_revision of params.yaml; "" for a folder
#   OPTION    further options of vLLM's server
# AutoLoRA requests the model by this name: the digest of a folder, or ID@REVISION.
# Environment: MAX_MODEL_LEN (tokens, default 512 on a CPU, 4096 on a GPU, which hold an image of captions.max_image_side);
# on a GPU, GPU_MEMORY (share of the card that the server reserves, default 0.28: the pipeline needs the rest);
# on a CPU, VLLM_CPU_KVCACHE_SPACE (GiB, default 1).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
model=${1:-$here/../playground/models/vlm}
port=${2:-8000}
revision=${3:-}
python=$here/.venv/bin/python
[ -x "$python" ] || { echo "start.sh: serve/.venv does not exist: run serve/setup.sh cpu (or cuda) first" >&2; exit 2; }
kind=$(head -n 1 "$here/.venv/installed")

flags=(--model "$model" --host 127.0.0.1 --port "$port")
if [ -d "$model" ]; then
    export HF_HUB_OFFLINE=1
    digest='import sys; from pathlib import Path; from autolora.storage.hashes import hash_folder
print(hash_folder(Path(sys.argv[1])))'
    name=$(PYTHONPATH=$here/.. "$python" -c "$digest" "$model")
else
    [ -n "$revision" ] || { echo "start.sh: $model is not a folder here, and a hub id needs a REVISION: give its commit" >&2; exit 2; }
    flags+=(--revision "$revision")
    name=$model@$revision
fi
if [ "$kind" = cpu ]; then
    # Eager mode in float32: the small model answers as with transformers, and starts without a compilation.
    export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1}
    flags+=(--max-model-len "${MAX_MODEL_LEN:-512}" --dtype float32 --enforce-eager --max-num-seqs 8)
else
    # vLLM reserves nine tenths of a card by default, so that no pipeline fits beside it.
    flags+=(--max-model-len "${MAX_MODEL_LEN:-4096}" --gpu-memory-utilization "${GPU_MEMORY:-0.28}")
fi
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# The module, because the console script `vllm` of the CPU build requires a distribution of that name and fails.
exec "$python" -m vllm.entrypoints.openai.api_server "${flags[@]}" --served-model-name "$name" "${@:4}"
