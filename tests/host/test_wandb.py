"""A run logged by Weights & Biases itself, without a network, and read back from the file that it leaves.

``.ci/run`` installs the extra and runs this; elsewhere it is skipped without it. In a process of its own, whose
warnings are W&B's.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("wandb") is None, reason="pip install 'amarl_jax[wandb]'"),
]

LOGGED = """
import math, sys
from pathlib import Path
from matplotlib.figure import Figure
from amarl_jax import config
from amarl_jax.host.runlog import RunLog
from amarl_jax.host.workdir import open_run

settings = config.load("configs/fast_debug.py", {"logging.use_wandb": True, "logging.use_tensorboard": False})
run = open_run(settings, Path(sys.argv[1]))
figure = run.path / "training.png"
Figure(figsize=(1, 1)).savefig(figure)
with RunLog(run) as log:
    log.write(1, {"phase_a/execution/shortfall": 0.5, "phase_b/information/source_nats": math.nan, "env_steps": 12})
    log.picture(1, "learning_curves", figure)
    log.write(2, {"phase_a/execution/shortfall": 0.25, "phase_b/information/source_nats": 0.125, "env_steps": 24})
    log.held_out(2, {"information/exact_nats": 0.375})
"""
READ = """
import json, struct, sys
from pathlib import Path
from wandb.proto import wandb_internal_pb2

def records(data, block=32768, head=7):  # LevelDB's log, behind seven bytes of W&B's own
    at, part = head, b""
    while at + head <= len(data):
        if block - at % block < head:
            at += block - at % block
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + head])
        part, at = part + data[at + head : at + head + size], at + head + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(part)
            part = b""

rows, settings, name = [], {}, ""
for record in records(Path(sys.argv[1]).read_bytes()):
    kind = record.WhichOneof("record_type")
    if kind == "run":
        name = f"{record.run.project}/{record.run.display_name}"
        settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    if kind == "history":
        items = record.history.item
        rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
print(json.dumps([name, settings, rows]))
"""


def python(code, *arguments, **environment):
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "JAX_PLATFORMS": "cpu", **environment}
    line = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=own | quiet)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tool_itself_keeps_metrics_settings_and_figures_of_a_run(tmp_path):
    python(LOGGED, tmp_path / "run", WANDB_CONFIG_DIR=str(tmp_path), WANDB_CACHE_DIR=str(tmp_path))
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    assert (tmp_path / "run" / "wandb_id").read_text() in file.name
    name, settings, rows = json.loads(python(READ, file))
    assert name == "adversarial-market-marl/fast_debug"
    assert settings["training"]["n_envs"] == 64
    first, second = rows
    assert first["execution/shortfall/phase_a"] == 0.5
    assert first["speed/env_steps"] == 12
    assert "information/source_nats/phase_b" not in first
    assert first["learning_curves/_type"] == "image-file"
    assert (file.parent / "files" / first["learning_curves/path"]).read_bytes().startswith(b"\x89PNG")
    assert second["information/source_nats/phase_b"] == 0.125
    assert second["held_out/information/exact_nats"] == 0.375
