"""The errors of policies whose actions are known, on episodes whose actions are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from simple_clip_lstm_ros.data.episode import METRES_AND_RADIANS, Episode
from simple_clip_lstm_ros.errors import EpisodeError, InputError

pytest.importorskip("h5py")

from simple_clip_lstm_ros.data.dataset import LabelledEpisode
from simple_clip_lstm_ros.evaluation.metrics import MOVING, evaluate_offline, format_verdict

LEFT, RIGHT = "1box_hori_left_1", "2box_vert_right_1"


def recording(name: str = "drive", actions=((0.1, 0, 0.2), (0.3, 0, -0.4), (0.5, 0, 0.0))) -> LabelledEpisode:
    """Each frame bears its index."""
    velocities = np.array(actions, np.float32)
    frames = np.arange(len(velocities), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    read = lambda indices=None: frames if indices is None else frames[list(indices)]  # noqa: E731
    events = ("episode_start",) * len(velocities)
    episode = Episode(name, velocities, events, None, "go", 1.0, "rgb", METRES_AND_RADIANS, read)
    return LabelledEpisode(Path(f"{name}.h5"), episode, f"{name}: go", velocities)


class Told:
    """A policy that answers what it is told to, by instruction, frame and how many frames it remembers."""

    def __init__(self, answer, axes=("linear.x", "angular.z")) -> None:
        self.config = SimpleNamespace(action_axes=axes)
        self._answer = answer
        self.remembered = 7

    def reset(self) -> None:
        self.remembered = 0

    def step(self, frame: np.ndarray, instruction: str):
        self.remembered += 1
        return SimpleNamespace(values=self._answer(instruction, int(frame[0, 0, 0]), self.remembered))


def always(*values: float, **changes) -> Told:
    return Told(lambda *_: values, **changes)


def recalls(*recordings: LabelledEpisode) -> Told:
    """The recorded actions."""
    by_text = {each.instruction: each.velocities[:, [0, 2]] for each in recordings}
    return Told(lambda text, index, _: tuple(by_text[text][index]))


def test_errors_are_by_axis_and_over_all_beside_those_of_the_best_constants() -> None:
    found = evaluate_offline(always(0.2, 0.0), [recording()]).total
    forward, turn = found.axes["linear.x"], found.axes["angular.z"]
    assert (found.episodes, found.frames, list(found.axes)) == (1, 3, ["linear.x", "angular.z"])
    assert (forward.error, turn.error) == pytest.approx(((0.1 + 0.1 + 0.3) / 3, (0.2 + 0.4) / 3))
    assert (forward.mean_error, forward.median_error) == pytest.approx((0.4 / 3, 0.4 / 3))
    mean = -0.2 / 3
    assert turn.mean_error == pytest.approx((abs(0.2 - mean) + abs(-0.4 - mean) + abs(mean)) / 3)
    assert turn.median_error == pytest.approx(0.2)
    assert found.overall.error == pytest.approx((forward.error + turn.error) / 2)
    assert found.overall.median_error == pytest.approx((forward.median_error + turn.median_error) / 2)


def test_direction_is_asked_of_frames_that_moved_on_that_axis() -> None:
    slow = MOVING - 0.01
    given = recording(actions=[(0.3, 0, 0.2), (0.3, 0, -0.2), (0.3, 0, 0.2), (-slow, 0, slow)])
    total = evaluate_offline(always(0.1, 0.1), [given]).total
    turn, forward = total.axes["angular.z"], total.axes["linear.x"]
    assert (turn.moving, turn.followed, turn.direction) == (3, 2, pytest.approx(2 / 3))
    assert (forward.moving, forward.followed) == (3, 3)
    assert (total.overall.moving, total.overall.followed) == (6, 5)
    still = evaluate_offline(always(0.1, 0.0), [given]).total.axes["angular.z"]
    assert (still.moving, still.followed) == (3, 0)


def test_an_axis_that_never_moved_has_no_direction() -> None:
    found = evaluate_offline(always(0.1, axes=("linear.y",)), [recording()]).total
    assert list(found.axes) == ["linear.y"]
    assert found.axes["linear.y"].moving == 0 and math.isnan(found.axes["linear.y"].direction)


def test_scenarios_are_counted_apart_each_with_its_own_constant() -> None:
    drives = [recording(LEFT), recording(RIGHT, [(0.2, 0, 0.1)] * 2), recording("any"), recording("other")]
    found = evaluate_offline(always(0.2, 0.1), drives)
    assert [*found.scenarios] == ["1box_hori_left", "2box_vert_right", "other"]
    assert [(each.episodes, each.frames) for each in found.scenarios.values()] == [(1, 3), (1, 2), (2, 6)]
    assert found.scenarios["2box_vert_right"].overall.median_error == 0.0
    assert found.total.episodes == 4 and found.total.frames == 11
    assert found.total.overall.median_error > 0.0


def test_each_episode_begins_with_a_fresh_hidden_state_and_is_stepped_through_once() -> None:
    seen = []
    policy = Told(lambda text, index, remembered: seen.append((text, index, remembered)) or (0.0, 0.0))
    steps = []
    evaluate_offline(policy, [recording("a"), recording("b", [(0.1, 0, 0)] * 70)], stepped=lambda: steps.append(0))
    assert seen[:3] == [("a: go", index, index + 1) for index in range(3)]
    assert seen[3:] == [("b: go", index, index + 1) for index in range(70)]
    assert len(steps) == 73 and policy.remembered == 0


def test_damaged_images_are_left_out_and_named() -> None:
    def damaged(indices=None):
        raise EpisodeError("bad.h5 is damaged")

    bad = recording("bad")
    bad = bad._replace(episode=replace(bad.episode, frames=damaged))
    found = evaluate_offline(always(0.2, 0.0), [bad, recording()])
    assert found.unreadable == {"bad.h5": "bad.h5 is damaged"} and found.total.episodes == 1
    with pytest.raises(EpisodeError, match=r"bad\.h5 is damaged"):
        evaluate_offline(always(0.2, 0.0), [bad])


def test_what_the_policy_refuses_is_told_with_the_file() -> None:
    def refuse(*_):
        raise InputError("the instruction contains the control token <image>")

    policy = Told(refuse)
    with pytest.raises(InputError, match=r"^drive\.h5: the instruction contains"):
        evaluate_offline(policy, [recording()])
    assert policy.remembered == 0


def test_the_verdict_tells_a_policy_from_a_constant() -> None:
    drive = recording()
    assert format_verdict(evaluate_offline(recalls(drive), [drive]).total) == (
        "this policy is better than a constant: over all axes its error is 0.000, that of a constant 0.167 (100% less)"
    )
    median = always(0.3, 0.0)
    assert format_verdict(evaluate_offline(median, [drive]).total) == (
        "WARNING: this policy is no better than a constant: over all axes its error is 0.167, that of a constant 0.167"
    )


@pytest.mark.parametrize("forward", [0.1, 0.17, 0.2, 0.29, 0.3])
def test_no_constant_is_better_than_a_constant(forward: float) -> None:
    """Between the two middle values each errs as much as the median."""
    drive = recording(actions=[(0.1, 0, 0.0), (0.1, 0, 0.1), (0.3, 0, 0.0), (0.3, 0, -0.1)])
    assert not evaluate_offline(always(forward, 0.0), [drive]).total.overall.is_better


def test_the_verdict_names_the_axes_on_which_a_constant_is_as_good() -> None:
    drive = recording()
    forward_only = Told(lambda text, index, _: (float(drive.velocities[index, 0]), 0.0))
    assert format_verdict(evaluate_offline(forward_only, [drive]).total).endswith("(40% less), though not on angular.z")


def test_actions_that_are_not_finite_have_no_error() -> None:
    assert format_verdict(evaluate_offline(always(math.nan, 0.0), [recording()]).total).startswith(
        "WARNING: some actions of this policy are"
    )
