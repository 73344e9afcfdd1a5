"""What a frontier's hull says, as text."""

from collections.abc import Mapping
from typing import Any


def hull_line(hull: Mapping[str, Any]) -> str:
    """What a hull says of jumps: its sentence, the stretch that may be straight, and the longest single piece."""
    straight, told = hull["straight"], ""
    if straight is not None and hull["predicted"]["lower"] is not None:
        told = (
            f", from {straight['quiet']} to {straight['loud']} at lambda {straight['penalty']:.2f} "
            f"(straight: p = {straight['p_value']:.2g})"
        )
    return f"{hull['statement']}{told}; {longest_piece(hull)}"


def longest_piece(hull: Mapping[str, Any]) -> str:
    """The longest straight piece of a hull: at its penalty I jumps, or nothing was measured in between."""
    if not hull["pieces"]:
        return "no straight piece"
    piece = max(hull["pieces"], key=lambda each: each["size_nats"]["value"])
    return (
        f"longest straight piece {place(piece['size_nats'])} nats at lambda {place(piece['penalty'])}, "
        f"from {piece['quiet']} to {piece['loud']}: {piece['kind']}"
    )


def place(located: Mapping[str, Any]) -> str:
    """A located number with its interval, or the words where there is none."""
    word = lambda x: x if isinstance(x, str) else f"{x:.2f}"  # noqa: E731
    value = located["note"] if located["value"] is None else word(located["value"])
    if located["lower"] is None or located["upper"] is None:
        return value if located["note"] in ("", value) else f"{value} ({located['note']})"
    return f"{value} [{word(located['lower'])}, {word(located['upper'])}]"
