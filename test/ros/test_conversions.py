"""Velocities, frames and reports as messages."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.data.overlay import draw_text
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_diagnostics, to_seconds, to_twist, to_twist_stamped

STAMP = Time(sec=1_700_000_000, nanosec=250_000_000)
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
LEVELS = {
    Reason.MOVING: OK,
    Reason.INACTIVE: OK,
    Reason.DISABLED: OK,
    Reason.NO_INSTRUCTION: OK,
    Reason.STOP_PHRASE: OK,
    Reason.STOPPING: OK,
    Reason.NO_ACTION: OK,
    Reason.UNTRAINED: WARN,
    Reason.NO_IMAGE: WARN,
    Reason.INSTRUCTION_REFUSED: WARN,
    Reason.STEP_ERROR: ERROR,
    Reason.NON_FINITE: ERROR,
    Reason.CLOCK_STOPPED: STALE,
    Reason.IMAGE_STALE: STALE,
    Reason.COMMAND_STALE: STALE,
    GuardReason.FORWARDING: OK,
    GuardReason.DISABLED: OK,
    GuardReason.NO_COMMAND: OK,
    GuardReason.ENDED: OK,
    GuardReason.HELD: WARN,
    GuardReason.NON_FINITE: ERROR,
    GuardReason.COMMAND_STALE: STALE,
}


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_a_velocity_fills_the_axes_of_a_planar_robot():
    twist = to_twist(Velocity(0.1, -0.2, 0.3))
    assert (twist.linear.x, twist.linear.y, twist.linear.z) == (0.1, -0.2, 0.0)
    assert (twist.angular.x, twist.angular.y, twist.angular.z) == (0.0, 0.0, 0.3)


def test_a_stamped_velocity_bears_stamp_and_frame():
    message = to_twist_stamped(Velocity(0.1, 0.0, 0.3), STAMP, "base_link")
    assert (message.header.stamp, message.header.frame_id) == (STAMP, "base_link")
    assert message.twist == to_twist(Velocity(0.1, 0.0, 0.3))


def test_a_twist_is_a_planar_velocity_again():
    assert Velocity.from_twist(to_twist(Velocity(0.1, -0.2, 0.3))) == Velocity(0.1, -0.2, 0.3)


@pytest.mark.parametrize("part", ["linear", "angular"])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_twist_that_is_broken_anywhere_is_not_finite(part, axis):
    twist = to_twist(Velocity(0.1, -0.2, 0.3))
    setattr(getattr(twist, part), axis, float("nan"))
    assert not Velocity.from_twist(twist).is_finite


def test_a_stamp_is_seconds():
    assert to_seconds(STAMP) == pytest.approx(1_700_000_000.25, abs=1e-6)


def test_a_frame_survives_the_way_through_a_message(frame):
    message = to_image(frame, STAMP, "camera")
    assert (message.width, message.height, message.step, message.encoding) == (64, 48, 192, "rgb8")
    assert (message.header.stamp, message.header.frame_id) == (STAMP, "camera")
    assert np.array_equal(to_rgb(message), frame)


def test_a_view_of_a_frame_survives_it_too(frame):
    view = frame[::2, ::-1]
    assert np.array_equal(to_rgb(to_image(view, STAMP, "camera")), view)


def test_lines_are_drawn_on_a_copy(frame):
    frame.setflags(write=False)
    before = frame.copy()
    drawn = draw_text(frame, ("go to the cup", "x +0.10"))
    assert drawn.shape == frame.shape and not np.array_equal(drawn, frame)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("ground", [0, 255])
def test_lines_are_white_on_dark_whatever_the_ground(ground):
    drawn = draw_text(np.full((240, 320, 3), ground, np.uint8), ("go to the cup",))
    assert drawn[:16].max() >= 240 and drawn[:16].min() <= 85
    assert (drawn[:16] > 128).mean() < 0.1 and (drawn[120:] == ground).all()


@pytest.mark.parametrize("reason", [*Reason, *GuardReason])
def test_diagnostics_say_how_bad_a_reason_is(reason):
    report = to_diagnostics("inference", "tiny.pth", reason, "why", {}, STAMP, warn=False)
    assert report.status[0].level == LEVELS[reason]


def test_doubts_about_the_weights_are_a_warning_and_hide_no_error():
    levels = {
        reason: to_diagnostics("", "", reason, "", {}, STAMP, warn=True).status[0].level
        for reason in (Reason.MOVING, Reason.STEP_ERROR)
    }
    assert levels == {Reason.MOVING: WARN, Reason.STEP_ERROR: ERROR}


def test_diagnostics_carry_values_as_text():
    report = to_diagnostics("robot/inference", "tiny.pth", Reason.MOVING, "why", {"images": 3}, STAMP, warn=False)
    (status,) = report.status
    assert report.header.stamp == STAMP
    assert (status.name, status.hardware_id, status.message) == ("robot/inference", "tiny.pth", "why")
    assert [(pair.key, pair.value) for pair in status.values] == [("images", "3")]
