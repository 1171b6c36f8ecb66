"""Under what a policy is judged in the world: as it was trained, without one of its senses, and in a harder world."""

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

# Layouts from this seed on are for judging; whoever trains stays below.
FIRST_SEED = 1_000_000

_BEFORE = 0.3  # m to the middle of the first box, along the way
_LOST = 1.0  # s without an image
_GREY = 128


@dataclass(frozen=True)
class Perturbation:
    """What is done to each layout, and at each moment of a drive, by the world as it is then: the instruction and the
    image that the policy gets, and whether it loses its hidden state before it sees that.
    """

    layout: Callable[[Layout], Layout] = lambda layout: layout
    instruction: Callable[[World], str] = lambda world: world.layout.scenario.instruction
    frame: Callable[[World], np.ndarray] = World.frame
    resets_state: Callable[[World], bool] = lambda world: False


def _other_words(world: World) -> str:
    texts = heldout_phrases(world.layout.scenario)
    # Forty layouts, whose sides alternate, hear all of both; the next forty hear them on other tasks.
    rounds, place = divmod(world.layout.seed, len(SIDES) * len(texts))
    return texts[(place // len(SIDES) + rounds) % len(texts)]


def _other_side(world: World) -> str:
    return world.layout.scenario.other_side.instruction


def _other_side_first(world: World) -> str:
    # It stays changed where a robot comes back.
    changed = any(map(world.layout.is_halfway, world.path))
    return world.layout.scenario.instruction if changed else _other_side(world)


def _delayed(layout: Layout) -> Layout:
    return replace(layout, body=replace(layout.body, latency=layout.body.latency + 0.2))


def _slow(layout: Layout) -> Layout:
    return replace(layout, body=replace(layout.body, slip=(0.2, 0.2)))


def _tilted(layout: Layout) -> Layout:
    """Beyond the steepest view there is in training."""
    return replace(layout, camera=replace(layout.camera, pitch=layout.camera.pitch + math.radians(5.0)))


def _blank(world: World) -> np.ndarray:
    # The camera goes on: the noise of a later picture must not depend on whether this one was seen.
    return np.full_like(world.frame(), _GREY)


def _lost_beside_the_box(world: World) -> np.ndarray:
    return _blank(world) if _beside_the_box(world) < _LOST else world.frame()


def _forgets_beside_the_box(world: World) -> bool:
    """Once: before the first frame that is lost."""
    return _beside_the_box(world) < PERIOD


def _beside_the_box(world: World) -> float:
    """For how many seconds the robot has been beside the first box, or beyond; infinite before."""
    first = world.layout.boxes[0].pose
    for index, pose in enumerate(world.path):
        along, _ = world.layout.abeam(first, pose)
        if along >= -_BEFORE:
            return (len(world.path) - 1 - index) * STEP
    return math.inf


PERTURBATIONS = {
    "as trained": Perturbation(),
    "other words": Perturbation(instruction=_other_words),
    "blank image": Perturbation(frame=_blank),
    "swapped instruction": Perturbation(instruction=_other_side),
    "told the other side at first": Perturbation(instruction=_other_side_first),
    "state reset each frame": Perturbation(resets_state=lambda world: True),
    "image lost beside the box": Perturbation(frame=_lost_beside_the_box),
    "image lost beside the box, state reset there": Perturbation(
        frame=_lost_beside_the_box, resets_state=_forgets_beside_the_box
    ),
    "200 ms late": Perturbation(layout=_delayed),
    "base 20 % slower": Perturbation(layout=_slow),
    "camera 5 degrees lower": Perturbation(layout=_tilted),
}
