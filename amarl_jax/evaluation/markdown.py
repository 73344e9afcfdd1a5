"""Result files as Markdown: cells, tables, and the machine of a result."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amarl_jax.host.provenance import is_older


def cell(estimate: Mapping[str, float], digits: int = 3) -> str:
    """A mean with its standard error, from ``value`` and ``stderr``."""
    return f"{estimate['value']:.{digits}f} ± {estimate['stderr']:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, one line per row, without a newline at the end."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(provenance: Mapping[str, Any]) -> str:
    """Number of cores and processor that a result was computed on."""
    hardware = provenance["hardware"]
    return f"{hardware.get('cores_used', hardware['cores'])} cores of {hardware['processor']}".replace(
        "1 cores", "1 core"
    )


def programs(commits: Iterable[str]) -> str:
    """Commits that results were computed at, ten digits each; one of an older program is called so.

    A "+" follows where files differed from the commit.
    """
    return ", ".join(_program(commit) for commit in sorted(set(commits)))


def _program(commit: str) -> str:
    older = " (older program)" if is_older(commit) else ""
    return f"`{commit[:10]}{commit[40:]}`{older}"
