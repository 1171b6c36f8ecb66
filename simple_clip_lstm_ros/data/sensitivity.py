"""Does a policy look at the image, obey the instruction, use its memory? How far its actions move without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simple_clip_lstm_ros.data.instructions import mirrored
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.policy import Policy

INSTRUCTION = "go around the left side of the box and reach the cup"
IGNORED = 0.01  # of the action: rounding alone moves it by less
_SLIGHT = 0.1
_OTHER = "turn around and drive away"
_BLOCKS = 8  # along each side of a frame that is shuffled
_SENSES = {"image": "the image", "instruction": "the instruction", "state": "its memory"}


@dataclass(frozen=True)
class Effect:
    """What a change of one `sense` (image, instruction, state) does to the actions.

    `by_axis` is the RMS change of each action in its unit; `share` that of all over the RMS of the actions.
    """

    sense: str
    change: str
    by_axis: dict[str, float]
    share: float


@dataclass(frozen=True)
class _Change:
    sense: str
    name: str
    frames: Sequence[np.ndarray]
    instruction: str
    resets: bool = False


def sensitivity(
    policy: Policy,
    frames: Sequence[np.ndarray],
    instruction: str = INSTRUCTION,
    *,
    short: bool = False,
    stepped: Callable[[], None] = lambda: None,
) -> list[Effect]:
    """Steps through the frames (uint8 RGB) once as they are and once for each change, from a fresh state each time.

    `short` leaves out all but the coarsest change of each sense. Raises InputError for less than two frames, and for
    what `Policy.step` refuses.
    """
    if len(frames) < 2:
        raise InputError("one frame tells nothing of what an image or the memory does: give two or more")
    changes = [each for each in _changes(frames, instruction) if not short or each.name in _COARSEST]
    truth = _actions(policy, _Change("", "", frames, instruction), stepped)
    size = np.sqrt((truth**2).mean())
    effects = []
    for each in changes:
        moved = _actions(policy, each, stepped) - truth
        by_axis = dict(zip(policy.config.action_axes, map(float, np.sqrt((moved**2).mean(axis=0))), strict=True))
        rms = np.sqrt((moved**2).mean())
        share = float(rms / size) if size else float(np.inf if rms else 0.0)
        effects.append(Effect(each.sense, each.name, by_axis, share))
    return effects


def passes(short: bool = False) -> int:
    """How many times `sensitivity` steps through the frames."""
    return 1 + (len(_COARSEST) if short else len(_changes([np.zeros((8, 8, 3), np.uint8)] * 2, INSTRUCTION)))


def ignored(effects: Sequence[Effect]) -> list[str]:
    """The senses, in words, of which no change moved the actions."""
    return [_SENSES[sense] for sense, share in _largest(effects).items() if share < IGNORED]


def verdict(effects: Sequence[Effect]) -> str:
    """In one sentence."""
    largest = _largest(effects)
    words = {
        "uses": [_SENSES[sense] for sense, share in largest.items() if share >= _SLIGHT],
        "hardly uses": [_SENSES[sense] for sense, share in largest.items() if IGNORED <= share < _SLIGHT],
        "ignores": ignored(effects),
    }
    told = [f"{verb} {' and '.join(senses)}" for verb, senses in words.items() if senses]
    return f"this model {', '.join(told)}"


def _largest(effects: Sequence[Effect]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for effect in effects:
        largest[effect.sense] = max(largest.get(effect.sense, 0.0), effect.share)
    return largest


_COARSEST = ("blank", "changed", "reset each frame")


def _changes(frames: Sequence[np.ndarray], instruction: str) -> list[_Change]:
    rng = np.random.default_rng(0)
    images = {
        "blank": [np.full_like(frame, 128) for frame in frames],
        "shuffled": [_shuffled(frame, rng) for frame in frames],
        "swapped": [*frames[len(frames) // 2 :], *frames[: len(frames) // 2]],
    }
    other = mirrored(instruction)
    words = instruction.split()
    texts = {
        "changed": other if other != " ".join(words) else _OTHER,
        "negated": f"do not {instruction}",
        "emptied": ".",
        "scrambled": " ".join(rng.permutation(words)),
    }
    return [
        *(_Change("image", name, changed, instruction) for name, changed in images.items()),
        *(_Change("instruction", name, frames, changed) for name, changed in texts.items()),
        _Change("state", "reset each frame", frames, instruction, resets=True),
    ]


def _shuffled(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its blocks in another order; a rest at the right and lower edge stays."""
    height, width = (side // _BLOCKS for side in frame.shape[:2])
    result = frame.copy()
    inner = result[: height * _BLOCKS, : width * _BLOCKS].reshape(_BLOCKS, height, _BLOCKS, width, 3).swapaxes(1, 2)
    mixed = inner.reshape(_BLOCKS**2, height, width, 3)[rng.permutation(_BLOCKS**2)]
    whole = mixed.reshape(_BLOCKS, _BLOCKS, height, width, 3).swapaxes(1, 2)
    result[: height * _BLOCKS, : width * _BLOCKS] = whole.reshape(height * _BLOCKS, width * _BLOCKS, 3)
    return result


def _actions(policy: Policy, change: _Change, stepped: Callable[[], None]) -> np.ndarray:
    """[frames, axes]."""
    policy.reset()
    actions = []
    for frame in change.frames:
        if change.resets:
            policy.reset()
        actions.append(policy.step(frame, change.instruction).values)
        stepped()
    policy.reset()
    return np.array(actions)
