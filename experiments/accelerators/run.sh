#!/usr/bin/env bash
# What a device that is there can do, in twelve minutes: every result is written as soon as it is there, and what a
# later part does is not lost by an earlier one that fails.
#
#   experiments/accelerators/run.sh FOLDER        # PYTHON names the interpreter, SECONDS_LEFT the time, default 720
#
# Writes versions.txt, book.json, play_N.txt, train.json, default/, sweep/, fit.json, parts.txt (seconds and exit code of
# each part) and all of it as results.tar.gz. Where a command has ten minutes, SECONDS_LEFT=540 leaves time for that.
set -u
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python}
limit=${SECONDS_LEFT:-720}
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export PYTHONPATH=. JAX_COMPILATION_CACHE_DIR=$cache
SECONDS=0

# part NAME AT_MOST KEPT COMMAND...: run it for at most so many seconds, and leave KEPT of 720 to the later parts
part() {
  local name=$1 most=$2 left=$((limit - SECONDS - $3 * limit / 720)) began=$SECONDS
  shift 3
  if [ "$left" -lt 15 ]; then echo "$name: left out, no time" | tee -a "$folder/parts.txt"; return; fi
  timeout --signal=TERM --kill-after=15 "$((left < most ? left : most))" "$@" > "$folder/$name.txt" 2>&1
  echo "$name: exit code $?, $((SECONDS - began)) s" | tee -a "$folder/parts.txt"
}

versions() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || true
  "$python" -c 'import jax, jaxlib; print(jax.__version__, jaxlib.__version__, jax.devices())'
}
export -f versions
export python

part versions 60 600 bash -c versions
for n in 16384 4096 1024 128; do
  part "play_$n" 60 510 "$python" -m amarl_jax.random_play --config=configs/default.py --config.training.n_envs=$n
done
"$python" experiments/accelerators/fit.py "$folder" > "$folder/fit.json"
part book 90 450 "$python" experiments/benchmarks/book.py --capacity 64 --batch 1024 16384 --step-batch --runs 3 \
  --engines apply table native --output="$folder/book.json"
part train 240 300 "$python" experiments/benchmarks/train.py --n_envs 128 1024 4096 --lanes --split_envs 0 --repeats 1 \
  --output="$folder/train.json"
part default 240 120 "$python" -m amarl_jax.train --config=configs/default.py --workdir="$folder/default" \
  --config.training.total_timesteps=10000000 --config.eval_episodes=256
part sweep 600 20 "$python" -m amarl_jax.sweep --config=configs/lambda_sweep.py --workdir="$folder/sweep" \
  --n_lambdas=6 --seeds=2 --config.training.total_timesteps=600000 --config.eval_episodes=256
cat "$folder/fit.json"
tar -czf "$cache/results.tar.gz" -C "$folder" . && mv "$cache/results.tar.gz" "$folder"
