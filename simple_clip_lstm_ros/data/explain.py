"""Which parts of a frame and which words move an action: by doing without each, one at a time.

Occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014), and the same for words. The
hidden state is fresh each time, so this explains a first step and not a drive.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from simple_clip_lstm_ros.data.instructions import mirrored
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.language.stop_phrases import is_stop_phrase
from simple_clip_lstm_ros.policy.policy import Policy

GRID = 12  # cells along each side of the frame
LEAST, MOST = 4, 32
_WINDOW = 2  # cells along each side of what is taken away at once
_NOTHING = "."  # an instruction of one word without it


@dataclass(frozen=True)
class Word:
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
    words: list[Word]
    mirrored: dict[str, float] | None


def steps(instruction: str, grid: int = GRID) -> int:
    """How many times `explain` steps."""
    return 1 + (grid - _WINDOW + 1) ** 2 + len(instruction.split()) + (_other_side(instruction) is not None)


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
    if not LEAST <= grid <= MOST or grid > min(frame.shape[:2]):
        raise InputError(f"a grid of {grid} cells is none for this image: take {LEAST} to {MOST}")
    act = _Stepper(policy, stepped)
    action = act(frame, instruction)
    # First all of the image, since an instruction is encoded once as long as it stays.
    parts = _parts(act, action, frame, instruction, grid)
    words = [Word(word, _by_axis(policy, action - act(frame, text))) for word, text in _without_each(instruction)]
    other = _other_side(instruction)
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
    hidden = _hidden(frame)
    for row, column in itertools.product(range(grid - _WINDOW + 1), repeat=2):
        rows, columns = slice(row, row + _WINDOW), slice(column, column + _WINDOW)
        (top, bottom), (left, right) = edges[0][[row, row + _WINDOW]], edges[1][[column, column + _WINDOW]]
        without = frame.copy()
        without[top:bottom, left:right] = hidden[top:bottom, left:right]
        added[:, rows, columns] += (action - act(without, instruction))[:, None, None]
        times[rows, columns] += 1
    return added / times


def _hidden(frame: np.ndarray) -> np.ndarray:
    """What stands where something was taken away: the frame without any detail."""
    return cv2.GaussianBlur(frame, (0, 0), max(frame.shape[:2]) / 8)


def _without_each(instruction: str) -> Iterator[tuple[str, str]]:
    words = instruction.split()
    for index, word in enumerate(words):
        rest = " ".join([*words[:index], *words[index + 1 :]])
        yield word, _NOTHING if not rest or is_stop_phrase(rest) else rest


def _other_side(instruction: str) -> str | None:
    other = mirrored(instruction)
    return None if other == " ".join(instruction.split()) else other


def _by_axis(policy: Policy, values: np.ndarray) -> dict[str, float]:
    return dict(zip(policy.config.action_axes, map(float, values), strict=True))
