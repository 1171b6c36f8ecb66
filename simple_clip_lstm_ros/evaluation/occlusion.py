"""Attribute an action to regions of the frame and to words, by leaving out one at a time.

Occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014), and the same for words. The
hidden state is fresh each time, so this explains a first step, not a drive.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from simple_clip_lstm_ros.control.velocity import UNITS
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.files import save_figure
from simple_clip_lstm_ros.language.instruction import is_stop_phrase
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.sim.instructions import swap_left_right

GRID = 12  # cells along each side of the frame
MIN_GRID, MAX_GRID = 4, 32
_WINDOW = 2  # cells along each side of the occluded window
_EMPTY = "."  # replaces an instruction that has no words left


@dataclass(frozen=True)
class WordAttribution:
    """Effect of a word: `by_axis` is the action minus the action without the word, in the axis's unit."""

    word: str
    by_axis: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """An action with its attributions.

    `heatmaps` are by axis, float64 [grid, grid] from the top left: what each cell adds to the action. `mirrored`
    is the action for the instruction with left and right exchanged, None if it names neither.
    """

    action: dict[str, float]
    heatmaps: dict[str, np.ndarray]
    words: list[WordAttribution]
    mirrored: dict[str, float] | None


def count_steps(instruction: str, grid: int = GRID) -> int:
    """Return how many policy steps `explain` takes."""
    return 1 + (grid - _WINDOW + 1) ** 2 + len(instruction.split()) + (_mirror_text(instruction) is not None)


def explain(
    policy: Policy,
    frame: np.ndarray,
    instruction: str,
    grid: int = GRID,
    stepped: Callable[[], None] = lambda: None,
) -> Explanation:
    """Attribute the action to regions of the frame and to words.

    `frame` is uint8 [height, width, 3] in RGB, divided into `grid` cells along each side. Call `stepped` after each
    step. Raise InputError for a grid that does not fit, for inputs that `Policy.step` rejects, and for an action that
    is not finite.
    """
    if not MIN_GRID <= grid <= MAX_GRID or grid > min(frame.shape[:2]):
        raise InputError(f"--grid must be {MIN_GRID} to {MAX_GRID} and at most the image size, got {grid}")
    step = _Stepper(policy, stepped)
    action = step(frame, instruction)
    # All windows first: an instruction is encoded once, as long as it does not change.
    heatmaps = _compute_heatmaps(step, action, frame, instruction, grid)
    words = [
        WordAttribution(word, _by_axis(policy, action - step(frame, text)))
        for word, text in _drop_each_word(instruction)
    ]
    mirrored_text = _mirror_text(instruction)
    mirrored = None if mirrored_text is None else _by_axis(policy, step(frame, mirrored_text))
    axes = policy.config.action_axes
    return Explanation(_by_axis(policy, action), dict(zip(axes, heatmaps, strict=True)), words, mirrored)


class _Stepper:
    def __init__(self, policy: Policy, stepped: Callable[[], None]) -> None:
        self._policy = policy
        self._stepped = stepped

    def __call__(self, frame: np.ndarray, instruction: str) -> np.ndarray:
        """Return the action's values from a fresh hidden state. Raise InputError if they are not finite."""
        self._policy.reset()
        action = self._policy.step(frame, instruction)
        self._policy.reset()
        self._stepped()
        if not action.is_finite:
            raise InputError("the action is not finite: there is nothing to explain")
        return np.array(action.values)


def _compute_heatmaps(step: _Stepper, action: np.ndarray, frame: np.ndarray, instruction: str, grid: int) -> np.ndarray:
    """Return heatmaps [axes, grid, grid]; each cell is the mean over the windows that contain it."""
    added, counts = np.zeros((len(action), grid, grid)), np.zeros((grid, grid))
    edges = [np.linspace(0, side, grid + 1).round().astype(int) for side in frame.shape[:2]]
    blurred = _blur(frame)
    for row, column in itertools.product(range(grid - _WINDOW + 1), repeat=2):
        rows, columns = slice(row, row + _WINDOW), slice(column, column + _WINDOW)
        (top, bottom), (left, right) = edges[0][[row, row + _WINDOW]], edges[1][[column, column + _WINDOW]]
        occluded = frame.copy()
        occluded[top:bottom, left:right] = blurred[top:bottom, left:right]
        added[:, rows, columns] += (action - step(occluded, instruction))[:, None, None]
        counts[rows, columns] += 1
    return added / counts


def _blur(frame: np.ndarray) -> np.ndarray:
    """Return the frame without detail, which fills an occluded window."""
    return cv2.GaussianBlur(frame, (0, 0), max(frame.shape[:2]) / 8)


def _drop_each_word(instruction: str) -> Iterator[tuple[str, str]]:
    words = instruction.split()
    for index, word in enumerate(words):
        rest = " ".join([*words[:index], *words[index + 1 :]])
        yield word, _EMPTY if not rest or is_stop_phrase(rest) else rest


def _mirror_text(instruction: str) -> str | None:
    mirrored = swap_left_right(instruction)
    return None if mirrored == " ".join(instruction.split()) else mirrored


def _by_axis(policy: Policy, values: np.ndarray) -> dict[str, float]:
    return dict(zip(policy.config.action_axes, map(float, values), strict=True))


_COLORMAP = "PuOr"  # two hues safe for color blindness; zero is white
_MAX_OPACITY = 0.85
_MIN_SCALE = 0.02  # m/s, rad/s: a heatmap whose maximum is smaller is drawn faint, not scaled up


def draw_explanation(frame: np.ndarray, instruction: str, explanation: Explanation, path: Path) -> None:
    """Write one heatmap and bar chart per axis; `frame` uint8 [height, width, 3].

    Raise InputError if the file cannot be written.
    """
    count, words = len(explanation.action), len(explanation.words)
    figure = Figure(figsize=(5.6 * count, 5.2 + 0.28 * words), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"“{instruction}”", wrap=True)
    above, below = figure.subplots(2, count, squeeze=False, height_ratios=[4.4, 0.5 + 0.28 * words])
    for axis, heatmap, bars in zip(explanation.action, above, below, strict=True):
        _draw_heatmap(figure, heatmap, frame, explanation, axis)
        _draw_words(bars, explanation, axis)
    save_figure(figure, path)


def _draw_heatmap(figure: Figure, axes: Axes, frame: np.ndarray, explanation: Explanation, axis: str) -> None:
    height, width, _ = frame.shape
    added = explanation.heatmaps[axis]
    scale = max(float(np.abs(added).max()), _MIN_SCALE)
    extent = (0.0, float(width), float(height), 0.0)
    axes.imshow(frame, extent=extent)
    opacity = _MAX_OPACITY * np.abs(added) / scale
    axes.imshow(added, cmap=_COLORMAP, vmin=-scale, vmax=scale, alpha=opacity, interpolation="nearest", extent=extent)
    axes.set_axis_off()
    axes.set_title(f"{axis}: {explanation.action[axis]:+.2f} {UNITS[axis]}", fontsize="medium")
    colors = ScalarMappable(Normalize(-scale, scale), _COLORMAP)
    figure.colorbar(colors, ax=axes, shrink=0.8, label=f"what a part adds ({UNITS[axis]})")


def _draw_words(axes: Axes, explanation: Explanation, axis: str) -> None:
    added = [word.by_axis[axis] for word in explanation.words]
    rows = range(len(added))
    colors = ["#b35806" if value < 0.0 else "#542788" for value in added]  # the ends of _COLORMAP
    axes.barh(rows, added, color=colors)
    axes.axvline(0.0, color="gray", linewidth=0.8)
    axes.set_yticks(rows, [word.word for word in explanation.words])
    axes.invert_yaxis()
    scale = max(*map(abs, added), _MIN_SCALE) * 1.05
    axes.set_xlim(-scale, scale)
    axes.set_xlabel(f"what a word adds ({UNITS[axis]})")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
