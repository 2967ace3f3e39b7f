#!/usr/bin/env bash
# start.sh [MODEL] [PORT] [REVISION]: serve a vision-language model with vLLM on 127.0.0.1, for captions.engine: vllm.
#   MODEL     a folder or a hub id; playground/models/vlm if left out
#   PORT      8000 if left out
#   REVISION  commit of a hub id, as models.vlm_revision in params.yaml
# It is served under the name that AutoLoRA asks for: a folder's digest, or ID@REVISION.
# MAX_MODEL_LEN (tokens; 512) and, on a CPU, VLLM_CPU_KVCACHE_SPACE (GiB; 1) can be set in the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
model=${1:-$here/../playground/models/vlm}
port=${2:-8000}
revision=${3:-}
python=$here/.venv/bin/python
[ -x "$python" ] || { echo "start.sh: serve/.venv is missing: run serve/setup.sh cpu (or cuda) first" >&2; exit 2; }

flags=(--model "$model" --host 127.0.0.1 --port "$port" --max-model-len "${MAX_MODEL_LEN:-512}")
if [ -d "$model" ]; then
    export HF_HUB_OFFLINE=1
    digest='import sys; from pathlib import Path; from autolora.files import hash_folder; print(hash_folder(Path(sys.argv[1])))'
    name=$(PYTHONPATH=$here/.. "$python" -c "$digest" "$model")
else
    [ -n "$revision" ] || { echo "start.sh: $model is no folder here; a hub id needs its REVISION" >&2; exit 2; }
    flags+=(--revision "$revision")
    name=$model@$revision
fi
if [ "$(head -n 1 "$here/.venv/installed")" = cpu ]; then
    # Eager and in float32: the tiny model answers as transformers does, and nothing is compiled at the start.
    export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1}
    flags+=(--dtype float32 --enforce-eager --max-num-seqs 8)
fi
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# The console script `vllm` of the CPU build looks for a distribution of that name and fails: hence the module.
exec "$python" -m vllm.entrypoints.openai.api_server "${flags[@]}" --served-model-name "$name"
