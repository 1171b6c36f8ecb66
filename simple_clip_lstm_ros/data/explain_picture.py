"""An explanation to look at: the frame under what its parts add to the action, and the words beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from simple_clip_lstm_ros.data.explain import Explanation
from simple_clip_lstm_ros.data.figures import save

_COLOURS = "PuOr"  # two hues that the colour-blind tell apart; nothing is white
_STRONGEST = 0.85  # opacity
_FAINT = 0.02  # m/s, rad/s: less than this over all of a frame is drawn as faint as it is
_UNITS = {"linear.x": "m/s", "linear.y": "m/s", "angular.z": "rad/s"}  # + is forward, left, to the left (REP-103)


def draw_explanation(frame: np.ndarray, instruction: str, found: Explanation, path: Path) -> None:
    """A picture for each axis of the action; `frame` uint8 [height, width, 3]. Raises InputError if not written."""
    count, words = len(found.action), len(found.words)
    figure = Figure(figsize=(5.6 * count, 5.2 + 0.28 * words), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"“{instruction}”", wrap=True)
    above, below = figure.subplots(2, count, squeeze=False, height_ratios=[4.4, 0.5 + 0.28 * words])
    for axis, picture, bars in zip(found.action, above, below, strict=True):
        _draw_parts(figure, picture, frame, found, axis)
        _draw_words(bars, found, axis)
    save(figure, path)


def _draw_parts(figure: Figure, axes: Axes, frame: np.ndarray, found: Explanation, axis: str) -> None:
    height, width, _ = frame.shape
    added = found.parts[axis]
    most = max(float(np.abs(added).max()), _FAINT)
    place = (0.0, float(width), float(height), 0.0)
    axes.imshow(frame, extent=place)
    opacity = _STRONGEST * np.abs(added) / most
    axes.imshow(added, cmap=_COLOURS, vmin=-most, vmax=most, alpha=opacity, interpolation="nearest", extent=place)
    axes.set_axis_off()
    axes.set_title(f"{axis}: {found.action[axis]:+.2f} {_UNITS[axis]}", fontsize="medium")
    scale = ScalarMappable(Normalize(-most, most), _COLOURS)
    figure.colorbar(scale, ax=axes, shrink=0.8, label=f"what a part adds ({_UNITS[axis]})")


def _draw_words(axes: Axes, found: Explanation, axis: str) -> None:
    added = [word.by_axis[axis] for word in found.words]
    places = range(len(added))
    colours = ["#b35806" if value < 0.0 else "#542788" for value in added]  # the ends of _COLOURS
    axes.barh(places, added, color=colours)
    axes.axvline(0.0, color="grey", linewidth=0.8)
    axes.set_yticks(places, [word.word for word in found.words])
    axes.invert_yaxis()
    most = max(*map(abs, added), _FAINT) * 1.05
    axes.set_xlim(-most, most)
    axes.set_xlabel(f"what a word adds ({_UNITS[axis]})")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
