"""Figures as files. Apart from the plots of worlds, which need more libraries."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from simple_clip_lstm_ros.errors import InputError


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, SVG or PDF, by the name. Raises InputError if it cannot be written."""
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from None
