"""Which parts of a frame and which words move an action: by doing without each, one at a time.

Occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014), and the same for words. The
hidden state is fresh each time, so this explains a first step and not a drive.
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
from simple_clip_lstm_ros.language.stop_phrases import is_stop_phrase
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.sim.instructions import swap_left_right
from simple_clip_lstm_ros.sim.plot import save_figure

GRID = 12  # cells along each side of the frame
MIN_GRID, MAX_GRID = 4, 32
_WINDOW = 2  # cells along each side of what is taken away at once
_NOTHING = "."  # an instruction of one word without it


@dataclass(frozen=True)
class WordAttribution:
    """`by_axis` is the action less that without the word, in the axis's unit: what the word adds."""

    word: str
    by_axis: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """`parts` are float64 [grid, grid] by axis, the frame's top left first: what that part of it adds to the action.

    `mirrored` is the action for the instruction with its sides changed; None where it names none.
    """

    action: dict[str, float]
    parts: dict[str, np.ndarray]
    words: list[WordAttribution]
    swap_left_right: dict[str, float] | None


def count_steps(instruction: str, grid: int = GRID) -> int:
    """How many times `explain` steps."""
    return 1 + (grid - _WINDOW + 1) ** 2 + len(instruction.split()) + (_mirror(instruction) is not None)


def explain(
    policy: Policy,
    frame: np.ndarray,
    instruction: str,
    grid: int = GRID,
    stepped: Callable[[], None] = lambda: None,
) -> Explanation:
    """Of a frame uint8 [height, width, 3] in RGB, in `grid` cells along each side; `stepped` is called after each step.

    Raises InputError for a grid that does not fit, for what `Policy.step` refuses, and where an action is not finite.
    """
    if not MIN_GRID <= grid <= MAX_GRID or grid > min(frame.shape[:2]):
        raise InputError(f"a grid of {grid} cells is none for this image: take {MIN_GRID} to {MAX_GRID}")
    act = _Stepper(policy, stepped)
    action = act(frame, instruction)
    # First all of the image, since an instruction is encoded once as long as it stays.
    parts = _parts(act, action, frame, instruction, grid)
    words = [
        WordAttribution(word, _by_axis(policy, action - act(frame, text)))
        for word, text in _drop_each_word(instruction)
    ]
    other = _mirror(instruction)
    turned = None if other is None else _by_axis(policy, act(frame, other))
    axes = policy.config.action_axes
    return Explanation(_by_axis(policy, action), dict(zip(axes, parts, strict=True)), words, turned)


class _Stepper:
    def __init__(self, policy: Policy, stepped: Callable[[], None]) -> None:
        self._policy = policy
        self._stepped = stepped

    def __call__(self, frame: np.ndarray, instruction: str) -> np.ndarray:
        """The action's values, from a fresh state. Raises InputError if they are not finite."""
        self._policy.reset()
        action = self._policy.step(frame, instruction)
        self._policy.reset()
        self._stepped()
        if not action.is_finite:
            raise InputError("the action is not finite: there is nothing to explain")
        return np.array(action.values)


def _parts(act: _Stepper, action: np.ndarray, frame: np.ndarray, instruction: str, grid: int) -> np.ndarray:
    """[axes, grid, grid]: each cell has the mean of the windows that it is in."""
    added, times = np.zeros((len(action), grid, grid)), np.zeros((grid, grid))
    edges = [np.linspace(0, side, grid + 1).round().astype(int) for side in frame.shape[:2]]
    hidden = _blur(frame)
    for row, column in itertools.product(range(grid - _WINDOW + 1), repeat=2):
        rows, columns = slice(row, row + _WINDOW), slice(column, column + _WINDOW)
        (top, bottom), (left, right) = edges[0][[row, row + _WINDOW]], edges[1][[column, column + _WINDOW]]
        without = frame.copy()
        without[top:bottom, left:right] = hidden[top:bottom, left:right]
        added[:, rows, columns] += (action - act(without, instruction))[:, None, None]
        times[rows, columns] += 1
    return added / times


def _blur(frame: np.ndarray) -> np.ndarray:
    """What stands where something was taken away: the frame without any detail."""
    return cv2.GaussianBlur(frame, (0, 0), max(frame.shape[:2]) / 8)


def _drop_each_word(instruction: str) -> Iterator[tuple[str, str]]:
    words = instruction.split()
    for index, word in enumerate(words):
        rest = " ".join([*words[:index], *words[index + 1 :]])
        yield word, _NOTHING if not rest or is_stop_phrase(rest) else rest


def _mirror(instruction: str) -> str | None:
    other = swap_left_right(instruction)
    return None if other == " ".join(instruction.split()) else other


def _by_axis(policy: Policy, values: np.ndarray) -> dict[str, float]:
    return dict(zip(policy.config.action_axes, map(float, values), strict=True))


_COLOURS = "PuOr"  # two hues that the colour-blind tell apart; nothing is white
_STRONGEST = 0.85  # opacity
_FAINT = 0.02  # m/s, rad/s: less than this over all of a frame is drawn as faint as it is


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
    save_figure(figure, path)


def _draw_parts(figure: Figure, axes: Axes, frame: np.ndarray, found: Explanation, axis: str) -> None:
    height, width, _ = frame.shape
    added = found.parts[axis]
    most = max(float(np.abs(added).max()), _FAINT)
    place = (0.0, float(width), float(height), 0.0)
    axes.imshow(frame, extent=place)
    opacity = _STRONGEST * np.abs(added) / most
    axes.imshow(added, cmap=_COLOURS, vmin=-most, vmax=most, alpha=opacity, interpolation="nearest", extent=place)
    axes.set_axis_off()
    axes.set_title(f"{axis}: {found.action[axis]:+.2f} {UNITS[axis]}", fontsize="medium")
    scale = ScalarMappable(Normalize(-most, most), _COLOURS)
    figure.colorbar(scale, ax=axes, shrink=0.8, label=f"what a part adds ({UNITS[axis]})")


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
    axes.set_xlabel(f"what a word adds ({UNITS[axis]})")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
