#!/usr/bin/env bash
# Proves and measures everything on a GPU in under nine minutes; each part has its own limit, results are written as they come.
#   bash tests/gpu/run.sh FOLDER           on the GPU, results in FOLDER
#   bash tests/gpu/run.sh FOLDER cpu       a rehearsal on the CPU
# Where there is no network, put wheels into .whl/ first: diffusers, and gradio with what it needs for the part "app".
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: bash tests/gpu/run.sh FOLDER [cpu]}
export DDIM_DEVICE=${2:-cuda} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$out"
began=$(date +%s)
say() { echo "== $(( $(date +%s) - began )) s: $*"; }

if ! python3 -c "import diffusers, gradio" 2> /dev/null && compgen -G ".whl/*.whl" > /dev/null; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
  export PYTHONPATH=/tmp/site${PYTHONPATH:+:$PYTHONPATH}
fi
say "installed"

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 status=0
  shift 2
  timeout -k 5 "$limit" "$@" > "$out/$name.txt" 2>&1 || status=$?
  tail -n "${TAIL:-25}" "$out/$name.txt"
  say "$name: status $status"
  echo "{\"part\": \"$name\", \"status\": $status, \"ended_at\": $(( $(date +%s) - began ))}" >> "$out/parts.jsonl"
}

wanted=" ${PARTS:-correctness speed app} "
[[ $wanted == *" correctness "* ]] && part correctness 120 python3 -m pytest -q -p no:cacheprovider -W default tests/gpu tests/backends/test_backends.py -k "not openvino and not kept_on_disk"
[[ $wanted == *" speed "* ]] && TAIL=60 part speed 400 python3 -m ddim_app benchmark --gpu "$out" --device "$DDIM_DEVICE" ${SPEED_PARTS:+--parts $SPEED_PARTS}
[[ $wanted == *" app "* ]] && part app 60 python3 -m tests.gpu.app
say "done"
