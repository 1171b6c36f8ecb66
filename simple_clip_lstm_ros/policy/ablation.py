"""Input ablation: how much a policy's actions change when image, instruction or hidden state is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

INSTRUCTION = "go around the left side of the box and reach the cup"
OTHER_INSTRUCTION = "go around the right side of the box and reach the cup"
IGNORED = 0.01  # share of the action; rounding alone changes it by less
_SLIGHT = 0.1
_CHECK_FRAMES = 2  # of the check at a node's start
_CHECK_TIMEOUT = 4.0  # s, longest duration of this check
_BLOCKS = 8  # per side of a shuffled frame
_INPUTS = {"image": "the image", "instruction": "the instruction", "state": "its memory"}


@dataclass(frozen=True)
class AblationEffect:
    """The effect on the actions of changing one `sense` (image, instruction, state).

    `by_axis` is the RMS change of each action in its unit; `share` is the RMS change of all actions over the RMS of the
    actions.
    """

    sense: str
    change: str
    by_axis: dict[str, float]
    share: float


@dataclass(frozen=True)
class _Ablation:
    sense: str
    name: str
    frames: Sequence[np.ndarray]
    instruction: str
    resets: bool = False


def ablate(
    policy: Policy,
    frames: Sequence[np.ndarray],
    instruction: str = INSTRUCTION,
    other: str = OTHER_INSTRUCTION,
    *,
    short: bool = False,
    stepped: Callable[[], None] = lambda: None,
) -> list[AblationEffect]:
    """Run the policy on unchanged frames and once per ablation; return the effects.

    `frames` are uint8 RGB, `other` is an instruction with another meaning. Each run starts from a fresh hidden state.
    `short` keeps the coarsest change of each input only. `stepped` is called after each step. Raise InputError for
    fewer than two frames, and for inputs that `Policy.step` rejects.
    """
    if len(frames) < 2:
        raise InputError("at least two frames are needed to measure the effect of image and hidden state")
    ablations = [each for each in _ablations(frames, instruction, other) if not short or each.name in _COARSE]
    reference = _actions(policy, _Ablation("", "", frames, instruction), stepped)
    reference_rms = np.sqrt((reference**2).mean())
    effects = []
    for each in ablations:
        difference = _actions(policy, each, stepped) - reference
        by_axis = dict(zip(policy.config.action_axes, map(float, np.sqrt((difference**2).mean(axis=0))), strict=True))
        rms = np.sqrt((difference**2).mean())
        share = float(rms / reference_rms) if reference_rms else float(np.inf if rms else 0.0)
        effects.append(AblationEffect(each.sense, each.name, by_axis, share))
    return effects


def num_passes(short: bool = False) -> int:
    """Return how many times `ablate` steps through the frames."""
    return 1 + (
        len(_COARSE) if short else len(_ablations([np.zeros((8, 8, 3), np.uint8)] * 2, INSTRUCTION, OTHER_INSTRUCTION))
    )


def ignored_inputs(effects: Sequence[AblationEffect]) -> list[str]:
    """Return the inputs, in words, whose ablations do not change the actions."""
    return [_INPUTS[sense] for sense, share in _largest(effects).items() if share < IGNORED]


def find_ignored_inputs(policy: Policy, latency: float, on_step: Callable[[], None]) -> list[str] | None:
    """Return which of image, instruction and memory the policy ignores; None if unchecked.

    It is unchecked if the steps would take too long. `latency` is the duration of a step in s; `on_step` is called
    after each step.
    """
    if latency * _CHECK_FRAMES * num_passes(short=True) > _CHECK_TIMEOUT:
        return None
    return ignored_inputs(ablate(policy, list(sample_crops(_CHECK_FRAMES)), short=True, stepped=on_step))


def format_verdict(effects: Sequence[AblationEffect]) -> str:
    """Return one sentence that says which inputs the model uses, hardly uses and ignores."""
    largest = _largest(effects)
    words = {
        "uses": [_INPUTS[sense] for sense, share in largest.items() if share >= _SLIGHT],
        "hardly uses": [_INPUTS[sense] for sense, share in largest.items() if IGNORED <= share < _SLIGHT],
        "ignores": ignored_inputs(effects),
    }
    clauses = [f"{verb} {' and '.join(senses)}" for verb, senses in words.items() if senses]
    return f"this model {', '.join(clauses)}"


def _largest(effects: Sequence[AblationEffect]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for effect in effects:
        largest[effect.sense] = max(largest.get(effect.sense, 0.0), effect.share)
    return largest


_COARSE = ("blank", "changed", "reset each frame")


def _ablations(frames: Sequence[np.ndarray], instruction: str, other: str) -> list[_Ablation]:
    rng = np.random.default_rng(0)
    images = {
        "blank": [np.full_like(frame, 128) for frame in frames],
        "shuffled": [_shuffle_blocks(frame, rng) for frame in frames],
        "swapped": [*frames[len(frames) // 2 :], *frames[: len(frames) // 2]],
    }
    texts = {
        "changed": other,
        "negated": f"do not {instruction}",
        "emptied": ".",
        "scrambled": " ".join(rng.permutation(instruction.split())),
    }
    return [
        *(_Ablation("image", name, changed, instruction) for name, changed in images.items()),
        *(_Ablation("instruction", name, frames, changed) for name, changed in texts.items()),
        _Ablation("state", "reset each frame", frames, instruction, resets=True),
    ]


def _shuffle_blocks(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the frame with its blocks permuted; leftover pixels at the right and bottom stay."""
    height, width = (side // _BLOCKS for side in frame.shape[:2])
    result = frame.copy()
    inner = result[: height * _BLOCKS, : width * _BLOCKS].reshape(_BLOCKS, height, _BLOCKS, width, 3).swapaxes(1, 2)
    mixed = inner.reshape(_BLOCKS**2, height, width, 3)[rng.permutation(_BLOCKS**2)]
    whole = mixed.reshape(_BLOCKS, _BLOCKS, height, width, 3).swapaxes(1, 2)
    result[: height * _BLOCKS, : width * _BLOCKS] = whole.reshape(height * _BLOCKS, width * _BLOCKS, 3)
    return result


def _actions(policy: Policy, change: _Ablation, stepped: Callable[[], None]) -> np.ndarray:
    """Return the actions of one run from a fresh hidden state, [frames, axes]."""
    policy.reset()
    actions = []
    for frame in change.frames:
        if change.resets:
            policy.reset()
        actions.append(policy.step(frame, change.instruction).values)
        stepped()
    policy.reset()
    return np.array(actions)
