"""Drives of the real nodes in lockstep with a world: those of the same policy without any ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ros_domain import own_domain

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.conditions import CONDITIONS
from simple_clip_lstm_ros.data.demonstrations import demonstrate
from simple_clip_lstm_ros.node.lockstep import GUARD, NODE, Lockstep
from simple_clip_lstm_ros.node.stage import Stage
from simple_clip_lstm_ros.sim.layout import draw
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import Outcome

pytestmark = pytest.mark.ros
# A random model that drives ahead into the box and sways a little by what it sees, reads and remembers: more, and what
# rounding makes of it would decide a drive.
CONFIG = {"action_scale": [0.1, 0.05], "action_offset": [0.4, 0.0]}
SEEDS = (3, 6)


@pytest.fixture(scope="module")
def lockstep(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lockstep]:
    parameters = {**NODE, **CONFIG, "checkpoint": tiny, "allow_untrained": "true", "device": "cpu", "precision": "fp32"}
    logs = tmp_path_factory.mktemp("stage")
    with own_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        with Stage(parameters, guard=GUARD, camera=None, threads=1, logs=logs) as stage:
            stage.start()
            yield Lockstep(stage)


def without_ros(tiny: Path, seed: int, shown=lambda frame: frame) -> Outcome:
    policy = load_policy(tiny, precision="fp32", config=CONFIG)
    axes, layout = policy.config.action_axes, draw(SCENARIOS[seed], seed)
    text = layout.scenario.instruction
    act = lambda frame, right: Velocity.from_axes(policy.step(shown(frame), text).values, axes)  # noqa: E731
    return demonstrate(layout, text, act, seconds=60.0).outcome


def grey(frame: np.ndarray) -> np.ndarray:
    return np.full_like(frame, 128)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drive_is_that_of_the_policy_alone(lockstep: Lockstep, tiny: Path, seed: int) -> None:
    layout = draw(SCENARIOS[seed], seed)
    outcome = lockstep.drive(layout).outcome
    alone = without_ros(tiny, seed)
    assert outcome.contact and outcome.time == pytest.approx(alone.time)
    assert outcome.length == pytest.approx(alone.length, abs=1e-3)


def test_what_is_shown_instead_of_the_image_decides(lockstep: Lockstep, tiny: Path) -> None:
    layout = draw(SCENARIOS[3], 3)
    blank = lockstep.drive(layout, CONDITIONS["blank image"]).outcome
    assert blank.length == pytest.approx(without_ros(tiny, 3, grey).length, abs=1e-3)
    assert abs(blank.length - without_ros(tiny, 3).length) > 1e-3


def test_a_state_that_is_lost_each_frame_is_another_drive(lockstep: Lockstep, tiny: Path) -> None:
    forgetful = lockstep.drive(draw(SCENARIOS[3], 3), CONDITIONS["state reset each frame"]).outcome
    assert abs(forgetful.length - without_ros(tiny, 3).length) > 1e-3
    again = lockstep.drive(draw(SCENARIOS[3], 3)).outcome
    assert again.length == pytest.approx(without_ros(tiny, 3).length, abs=1e-3)
