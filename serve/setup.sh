#!/usr/bin/env bash
# setup.sh [cpu|cuda]: make serve/.venv, the vLLM server's own virtual environment; does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")"
kind=${1:-cpu}
requirements=requirements-$kind.txt
[ -f "$requirements" ] || { echo "setup.sh: unknown kind '$kind'; it is cpu or cuda" >&2; exit 2; }
stamp=.venv/installed # the kind and what was asked for
wanted=$(echo "$kind" && cat "$requirements")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    touch "$stamp"
    exit 0
fi
"${PYTHON:-python3}" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
if [ "$kind" = cpu ]; then
    # Their wheels fail to import beside the CPU build of torch and take transformers' audio import with them.
    .venv/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
fi
echo "$wanted" >"$stamp"
