"""Shared parts of figures, which are drawn from files only, so that any can be drawn again."""

from pathlib import Path

from matplotlib.figure import Figure

# Okabe and Ito's colours, safe for the colour-blind; every line also has its own style, for print
STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


def save(figure: Figure, path: str | Path) -> list[str]:
    """Write a figure as ``path.png`` and ``path.pdf``; returns the two names. Equal input makes equal files."""
    stem = Path(path)
    figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=150, metadata={"Software": None})
    figure.savefig(stem.with_name(f"{stem.name}.pdf"), metadata={"CreationDate": None, "Creator": None})
    return [f"{stem.name}.png", f"{stem.name}.pdf"]


def style(place: int) -> tuple[str, str]:
    """Colour and line style of the curve at ``place``; no two of the first sixteen have both alike."""
    colour = STYLES[place % len(STYLES)][0]
    return colour, STYLES[(place + place // len(STYLES)) % len(STYLES)][1]
