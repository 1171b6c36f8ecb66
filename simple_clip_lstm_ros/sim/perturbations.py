"""Perturbations for evaluation in simulation: none, missing or altered inputs, and harder dynamics and views."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from simple_clip_lstm_ros.sim.instructions import heldout_phrases
from simple_clip_lstm_ros.sim.layout import Layout
from simple_clip_lstm_ros.sim.rollouts import PERIOD
from simple_clip_lstm_ros.sim.scenario import SIDES
from simple_clip_lstm_ros.sim.world import STEP, World

# Layouts from this seed on are for evaluation; training must use smaller seeds.
FIRST_SEED = 1_000_000

_BEFORE = 0.3  # m, along the axis, to the center of the first box
_IMAGE_LOSS = 1.0  # s without an image
_GRAY = 128


@dataclass(frozen=True)
class Perturbation:
    """Changes to the layout, and at each step to the policy's inputs.

    At each step, functions of the current world give the instruction and the image that the policy gets, and whether
    its hidden state is reset before that image.
    """

    layout: Callable[[Layout], Layout] = lambda layout: layout
    instruction: Callable[[World], str] = lambda world: world.layout.scenario.instruction
    frame: Callable[[World], np.ndarray] = World.frame
    resets_state: Callable[[World], bool] = lambda world: False


def _heldout_phrase(world: World) -> str:
    texts = heldout_phrases(world.layout.scenario)
    # Forty layouts, whose sides alternate, use every phrase for both sides; the next forty pair them with other tasks.
    rounds, index = divmod(world.layout.seed, len(SIDES) * len(texts))
    return texts[(index // len(SIDES) + rounds) % len(texts)]


def _other_side(world: World) -> str:
    return world.layout.scenario.other_side.instruction


def _other_side_first(world: World) -> str:
    # Checks the whole path: the instruction stays changed if the robot drives back.
    has_changed = any(map(world.layout.is_halfway, world.path))
    return world.layout.scenario.instruction if has_changed else _other_side(world)


def _delayed(layout: Layout) -> Layout:
    return replace(layout, dynamics=replace(layout.dynamics, latency=layout.dynamics.latency + 0.2))


def _slow(layout: Layout) -> Layout:
    return replace(layout, dynamics=replace(layout.dynamics, slip=(0.2, 0.2)))


def _tilted(layout: Layout) -> Layout:
    """Tilt the camera below the steepest pitch in training."""
    return replace(layout, camera=replace(layout.camera, pitch=layout.camera.pitch + math.radians(5.0)))


def _blank(world: World) -> np.ndarray:
    # Render anyway: the noise of later images must not depend on whether this one was used.
    return np.full_like(world.frame(), _GRAY)


def _lost_at_first_box(world: World) -> np.ndarray:
    return _blank(world) if _seconds_at_first_box(world) < _IMAGE_LOSS else world.frame()


def _resets_at_first_box(world: World) -> bool:
    """Return True once: before the first lost frame."""
    return _seconds_at_first_box(world) < PERIOD


def _seconds_at_first_box(world: World) -> float:
    """Return the time (s) since the robot came next to the first box.

    Infinite before that. A robot that comes back does not restart it.
    """
    first = world.layout.boxes[0].pose
    for index, pose in enumerate(world.path):
        past, _ = world.layout.axis_offset(first, pose)
        if past >= -_BEFORE:
            return (len(world.path) - 1 - index) * STEP
    return math.inf


PERTURBATIONS = {
    "as trained": Perturbation(),
    "other words": Perturbation(instruction=_heldout_phrase),
    "blank image": Perturbation(frame=_blank),
    "swapped instruction": Perturbation(instruction=_other_side),
    "told the other side at first": Perturbation(instruction=_other_side_first),
    "state reset each frame": Perturbation(resets_state=lambda world: True),
    "image lost beside the box": Perturbation(frame=_lost_at_first_box),
    "image lost beside the box, state reset there": Perturbation(
        frame=_lost_at_first_box, resets_state=_resets_at_first_box
    ),
    "200 ms late": Perturbation(layout=_delayed),
    "base 20 % slower": Perturbation(layout=_slow),
    "camera 5 degrees lower": Perturbation(layout=_tilted),
}
