"""What is done to worlds, texts and frames to judge a policy."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.instructions import heldout_phrases, swap_left_right, training_phrases
from simple_clip_lstm_ros.sim.layout import Layout, Pose, sample_layout
from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED, PERTURBATIONS, Perturbation
from simple_clip_lstm_ros.sim.rollouts import PERIOD
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import World

LAYOUT = sample_layout(SCENARIOS[0], FIRST_SEED)
CHANGED = "told the other side at first"
LOST = "image lost beside the box"
LOST_AND_RESET = "image lost beside the box, state reset there"


def drive(condition: Perturbation, layout: Layout = LAYOUT) -> list[Moment]:
    """The expert's drive, as a policy lives through it: it sees something else, and drives the same."""
    world, expert = World(layout), Expert(layout)
    moments = []
    while not world.outcome.ended:
        resets_state = condition.resets_state(world)
        told = condition.instruction(world)
        moments.append(Moment(world.base.time, world.base.pose, told, condition.frame(world), resets_state))
        world.command(expert(world.base.pose))
        world.advance(PERIOD)
    return moments


class Moment(NamedTuple):
    time: float
    pose: Pose
    told: str
    frame: np.ndarray
    resets_state: bool

    @property
    def blank(self) -> bool:
        return bool((self.frame == 128).all())


@pytest.fixture(scope="module")
def as_trained() -> list[Moment]:
    return drive(PERTURBATIONS["as trained"])


def test_each_changes_what_its_name_says_and_nothing_else(as_trained: list[Moment]) -> None:
    changed = {}
    for name, condition in PERTURBATIONS.items():
        moments = drive(condition)
        same = {
            "layout": condition.layout(LAYOUT) == LAYOUT,
            "text": all(m.told == LAYOUT.scenario.instruction for m in moments),
            "frame": all(map(np.array_equal, (m.frame for m in moments), (m.frame for m in as_trained))),
            "state": not any(m.resets_state for m in moments),
        }
        changed[name] = {what for what, is_same in same.items() if not is_same}
    assert changed == {
        "as trained": set(),
        "other words": {"text"},
        "blank image": {"frame"},
        "swapped instruction": {"text"},
        CHANGED: {"text"},
        "state reset each frame": {"state"},
        LOST: {"frame"},
        LOST_AND_RESET: {"frame", "state"},
        "200 ms late": {"layout"},
        "base 20 % slower": {"layout"},
        "camera 5 degrees lower": {"layout"},
    }


def test_what_is_blank_or_reset_always_is_so_at_each_frame() -> None:
    assert all(moment.blank for moment in drive(PERTURBATIONS["blank image"]))
    assert all(moment.resets_state for moment in drive(PERTURBATIONS["state reset each frame"]))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_image_is_lost_for_a_second_from_just_before_the_first_box(scenario: Scenario) -> None:
    layout = sample_layout(scenario, FIRST_SEED)
    moments = drive(PERTURBATIONS[LOST], layout)
    along = [layout.axis_offset(layout.boxes[0].pose, moment.pose)[0] for moment in moments]
    # The robot comes there between two frames, and the second counts from then.
    first = next(index for index, metres in enumerate(along) if metres >= -0.3)
    lost = [index for index, moment in enumerate(moments) if moment.blank]
    assert lost == list(range(first, first + round(1.0 / PERIOD)))
    assert along[first] < 0.0


def test_a_drive_that_comes_back_to_the_box_does_not_lose_the_image_again() -> None:
    world, lost = World(LAYOUT), PERTURBATIONS[LOST].frame
    beside = LAYOUT.boxes[0].pose
    for x in [-1.0, *[-0.2] * 49, -1.0, -0.2]:  # poses a STEP apart
        world.path.append(Pose(beside.x + x, beside.y + 1.0, 0.0))
    shown = lost(world)
    assert not (shown == 128).all()


def test_pictures_after_the_lost_ones_are_those_of_a_drive_without_loss(as_trained: list[Moment]) -> None:
    pairs = list(zip(drive(PERTURBATIONS[LOST]), as_trained, strict=True))
    assert all(np.array_equal(lost.frame, kept.frame) for lost, kept in pairs if not lost.blank)


def test_the_state_is_lost_once_as_the_first_image_is() -> None:
    moments = drive(PERTURBATIONS[LOST_AND_RESET])
    first = next(index for index, moment in enumerate(moments) if moment.blank)
    assert [index for index, moment in enumerate(moments) if moment.resets_state] == [first]


def test_other_words_are_all_of_the_unseen_on_all_tasks_and_none_of_the_trained() -> None:
    heard = set()
    for index in range(160):
        scenario = SCENARIOS[index % len(SCENARIOS)]
        text = PERTURBATIONS["other words"].instruction(World(sample_layout(scenario, FIRST_SEED + index)))
        assert text in heldout_phrases(scenario) and text not in training_phrases(scenario)
        heard.add((scenario, text))
        if index == 39:
            assert len({text.replace("boxes", "box") for _, text in heard}) == 2 * 20
    assert len(heard) == 8 * 20


def test_a_swapped_instruction_names_the_other_side() -> None:
    (told,) = {moment.told for moment in drive(PERTURBATIONS["swapped instruction"])}
    assert told == swap_left_right(LAYOUT.scenario.instruction) != LAYOUT.scenario.instruction


def test_an_instruction_changes_once_to_the_right_one_half_way_to_the_box() -> None:
    moments = drive(PERTURBATIONS[CHANGED])
    told = [moment.told == LAYOUT.scenario.instruction for moment in moments]
    first = told.index(True)
    assert first > 1 and all(told[first:]) and not any(told[:first])
    assert moments[0].told == swap_left_right(LAYOUT.scenario.instruction)
    start, box = LAYOUT.start, LAYOUT.boxes[0].pose
    gone = math.hypot(moments[first].pose.x - start.x, moments[first].pose.y - start.y)
    assert 0.5 <= gone / math.hypot(box.x - start.x, box.y - start.y) < 0.7


def test_a_camera_that_is_tilted_is_beyond_what_training_has_seen() -> None:
    steepest = max(sample_layout(SCENARIOS[0], seed).camera.pitch for seed in range(300))
    tilted = [
        PERTURBATIONS["camera 5 degrees lower"].layout(sample_layout(SCENARIOS[0], seed)).camera.pitch
        for seed in range(300)
    ]
    assert max(tilted) > steepest + math.radians(4.0)
