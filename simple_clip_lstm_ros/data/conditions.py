"""Under what a policy is judged in the world: as it was trained, without one of its senses, and in a harder world."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from simple_clip_lstm_ros.data.instructions import mirrored, unseen
from simple_clip_lstm_ros.sim.layout import Layout

# Layouts from this seed on are for judging; whoever trains stays below.
FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class Condition:
    """What is done to each layout, the instruction for it, and each frame; and whether the hidden state is lost."""

    layout: Callable[[Layout], Layout] = lambda layout: layout
    instruction: Callable[[Layout], str] = lambda layout: layout.scenario.instruction
    frame: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
    forgets: bool = False


def _other_words(layout: Layout) -> str:
    texts = unseen(layout.scenario)
    return texts[layout.seed // 8 % len(texts)]  # layouts of one scenario are every eighth


def _delayed(layout: Layout) -> Layout:
    return replace(layout, body=replace(layout.body, latency=layout.body.latency + 0.2))


def _slow(layout: Layout) -> Layout:
    return replace(layout, body=replace(layout.body, slip=(0.2, 0.2)))


def _tilted(layout: Layout) -> Layout:
    """Beyond the steepest view there is in training."""
    return replace(layout, camera=replace(layout.camera, pitch=layout.camera.pitch + math.radians(5.0)))


CONDITIONS = {
    "as trained": Condition(),
    "other words": Condition(instruction=_other_words),
    "blank image": Condition(frame=lambda frame: np.full_like(frame, 128)),
    "swapped instruction": Condition(instruction=lambda layout: mirrored(layout.scenario.instruction)),
    "state reset each frame": Condition(forgets=True),
    "200 ms late": Condition(layout=_delayed),
    "base 20 % slower": Condition(layout=_slow),
    "camera 5 degrees lower": Condition(layout=_tilted),
}
