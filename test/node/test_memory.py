"""When the hidden state lives on and when it begins anew, seen frame by frame; and what is told about each frame."""

from __future__ import annotations

import pytest
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros


@pytest.fixture
def stepper(bench):
    """An active node with an instruction whose images come one at a time; none is too old."""
    bench.activate(image_timeout=10.0, command_timeout=10.0)
    bench.told("go to the cup")
    return bench


def frames_seen(bench, **image):
    return int(bench.step(**image)["frames in hidden state"])


def test_the_state_lives_on_from_frame_to_frame(stepper):
    assert [frames_seen(stepper) for _ in range(3)] == [1, 2, 3]


def test_an_equal_instruction_is_ignored(stepper):
    assert frames_seen(stepper) == 1
    for count, again in enumerate(("go to the cup", " go to the cup\n", "go to the cup"), start=2):
        stepper.instruct(again)
        assert frames_seen(stepper) == count
    assert not any(reason.startswith("STOPPING") for reason in stepper.reasons)


def test_a_new_instruction_begins_anew(stepper):
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]
    stepper.told("go to the door")
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]


def test_an_image_gap_begins_anew(stepper):
    assert [frames_seen(stepper, age=age) for age in (6.0, 4.5, 3.0, 0.5)] == [1, 2, 3, 1]


def test_the_length_of_that_gap_is_state_timeout(bench):
    bench.activate(image_timeout=10.0, command_timeout=10.0, state_timeout=1.0)
    bench.told("go to the cup")
    assert [frames_seen(bench, age=age) for age in (6.0, 5.5, 4.0)] == [1, 2, 1]


def test_reset_begins_anew(stepper):
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]
    assert stepper.call("reset", Trigger.Request()).success
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]


def test_activation_begins_anew(stepper):
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]
    assert stepper.transition("deactivate")
    stepper.until(lambda: stepper.instructions.get_subscription_count() == 0, "the end of the subscriptions")
    assert stepper.transition("activate")
    stepper.told("go to the cup")
    assert [frames_seen(stepper) for _ in range(2)] == [1, 2]


def test_the_overlay_shows_each_frame_a_small_one_enlarged_so_that_its_text_can_be_read(stepper):
    overlays = []
    subscription = stepper.probe.create_subscription(Image, "inference/overlay", overlays.append, 10)
    stepper.until(lambda: stepper.probe.count_publishers("inference/overlay") > 0, "the overlay's publisher")
    # The node must have found this subscription, too.
    stepper.until(lambda: stepper.step() and overlays, "an overlay")
    stamps = [action.header.stamp for action in stepper.actions]
    assert overlays[-1].header.stamp in stamps
    assert (overlays[-1].width, overlays[-1].height, overlays[-1].encoding) == (480, 360, "rgb8")
    stepper.probe.destroy_subscription(subscription)
