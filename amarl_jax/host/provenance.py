"""Provenance of a result, which every committed result file has beside its numbers."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "chex", "distrax", "numpy")


def provenance(config: Any, seed: int | None) -> dict[str, Any]:
    """Command, configuration, seed, commit, hardware, versions and date, ready for JSON."""
    return {
        "command": command(),
        "config": config,
        "seed": seed,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": hardware(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


@dataclasses.dataclass
class Stopwatch:
    """Wall and CPU seconds of the parts of a command, one after the other, in this process."""

    seconds: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)  # by part: "wall" and "cpu"
    _wall: float = dataclasses.field(default_factory=time.perf_counter)
    _cpu: float = dataclasses.field(default_factory=time.process_time)

    def lap(self, part: str) -> None:
        """Count the time since the last lap as spent on ``part``."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.seconds[part] = {"wall": round(wall - self._wall, 2), "cpu": round(cpu - self._cpu, 2)}
        self._wall, self._cpu = wall, cpu


def command() -> str:
    """The command line to type again, without this machine's folders."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return " ".join(["python -m", spec.name, *sys.argv[1:]])
    script = Path(sys.argv[0])
    if script.is_absolute() and script.is_relative_to(Path.cwd()):
        script = script.relative_to(Path.cwd())
    return " ".join(["python", str(script), *sys.argv[1:]])


def commit() -> str:
    """Hash of the checkout the package is imported from, with "+" if files differ from it; "unknown" outside one."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "amarl_jax", "configs"],
            cwd=folder.parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def is_older(commit: str) -> bool | None:
    """True if a result's commit (a "+" may follow) lies before the last change of the program's numbers.

    ``since`` of ``tests/fixtures/golden_metrics.json`` is the commit of that change: the last one in
    ``amarl_jax/{market,lob,nets,policies,posterior,information,learn}`` that moved a metric of training. None where it
    cannot be told: outside a checkout, or in one without that history.
    """
    root = Path(__file__).resolve().parents[2]
    golden = root / "tests" / "fixtures" / "golden_metrics.json"
    if not golden.exists():
        return None
    since = json.loads(golden.read_text())["since"]
    command = ["git", "merge-base", "--is-ancestor", since, commit.removesuffix("+")]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, check=False).returncode
    except OSError:
        return None
    return {0: False, 1: True}.get(found)


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and the devices JAX computes on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "devices": [device.device_kind for device in jax.devices()],
        "load": _load(),
    }


def _load() -> list[float] | None:
    """Load averages over 1, 5 and 15 minutes; None where the system has none."""
    try:
        return [round(x, 2) for x in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
