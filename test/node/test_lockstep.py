"""Drives of the real nodes in lockstep with a world: those of the same policy without any ROS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ros_domain import own_domain

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.harness.lockstep import GUARD, NODE, Lockstep
from simple_clip_lstm_ros.harness.node_harness import NodeHarness
from simple_clip_lstm_ros.sim.layout import Layout, Pose, sample_layout
from simple_clip_lstm_ros.sim.perturbations import PERTURBATIONS, Perturbation
from simple_clip_lstm_ros.sim.rollouts import PERIOD
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import Outcome, World

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
        with NodeHarness(parameters, guard=GUARD, camera=None, threads=1, logs=logs) as stage:
            stage.start()
            yield Lockstep(stage)


def without_ros(tiny: Path, layout: Layout, condition: Perturbation = PERTURBATIONS["as trained"]) -> Outcome:
    policy = load_policy(tiny, precision="fp32", config=CONFIG)
    world = World(layout)
    while not world.outcome.ended:
        if condition.resets_state(world):
            policy.reset()
        action = policy.step(condition.frame(world), condition.instruction(world))
        world.command(Velocity.from_axes(action.values, policy.config.action_axes))
        world.advance(PERIOD)
    return world.outcome


def way_past_the_box() -> Layout:
    """Straight ahead, on the left of the box, to the cup."""
    layout = sample_layout(SCENARIOS[0], 3)
    beside = layout.boxes[0].pose.y + 0.7
    return replace(layout, start=Pose(0.0, beside, 0.0), cup=replace(layout.cup, y=beside), distractors=())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drive_is_that_of_the_policy_alone(lockstep: Lockstep, tiny: Path, seed: int) -> None:
    layout = sample_layout(SCENARIOS[seed], seed)
    outcome = lockstep.drive(layout).outcome
    alone = without_ros(tiny, layout)
    assert outcome.contact and outcome.time == pytest.approx(alone.time)
    assert outcome.length == pytest.approx(alone.length, abs=1e-3)


@pytest.mark.parametrize(
    "name, other, layout",
    [
        ("blank image", "as trained", sample_layout(SCENARIOS[3], 3)),
        ("told the other side at first", "as trained", way_past_the_box()),
        ("state reset each frame", "as trained", way_past_the_box()),
        ("image lost beside the box", "as trained", way_past_the_box()),
        ("image lost beside the box, state reset there", "image lost beside the box", way_past_the_box()),
    ],
)
def test_what_is_shown_and_what_is_forgotten_decide(
    lockstep: Lockstep, tiny: Path, name: str, other: str, layout: Layout
) -> None:
    length = lockstep.drive(layout, PERTURBATIONS[name]).outcome.length
    assert length == pytest.approx(without_ros(tiny, layout, PERTURBATIONS[name]).length, abs=1e-3)
    assert abs(length - without_ros(tiny, layout, PERTURBATIONS[other]).length) > 1e-3


def test_nothing_of_a_drive_is_left_for_the_next(lockstep: Lockstep, tiny: Path) -> None:
    layout = sample_layout(SCENARIOS[3], 3)
    lockstep.drive(layout, PERTURBATIONS["state reset each frame"])
    assert lockstep.drive(layout).outcome.length == pytest.approx(without_ros(tiny, layout).length, abs=1e-3)
