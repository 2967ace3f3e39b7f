#!/usr/bin/env bash
# setup.sh [cpu|cuda]: create serve/.venv, the virtual environment of the vLLM server, unless it is up to date.
set -euo pipefail
cd "$(dirname "$0")"
kind=${1:-cpu}
requirements=requirements-$kind.txt
[ -f "$requirements" ] || { echo "setup.sh: unknown kind '$kind': expected cpu or cuda" >&2; exit 2; }
stamp=.venv/installed # contains the kind and its requirements
wanted=$(echo "$kind" && cat "$requirements")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    touch "$stamp"
    exit 0
fi
"${PYTHON:-python3}" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
if [ "$kind" = cpu ]; then
    # Their wheels fail to import with the CPU build of torch, and transformers imports them if they are installed.
    .venv/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
fi
echo "$wanted" >"$stamp"
