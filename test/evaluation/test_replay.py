"""A replay does what the node would have done, the same each time, and tells what was different."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags")
pytest.importorskip("h5py")

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path and leaves the tests' folders out
from bag import EPOCH, compressed, image, picture, text, twist, twist_stamped, write_bag
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.drive_events import (
    BagDrive,
    CommandEvent,
    EpisodeDrive,
    ImageEvent,
    InstructionEvent,
    ReasonEvent,
    TopicSelection,
)
from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter
from simple_clip_lstm_ros.errors import ConfigError, EpisodeError, InputError
from simple_clip_lstm_ros.evaluation.replay import Replay
from simple_clip_lstm_ros.evaluation.replay_config import ReplayConfig, read_ros_params
from simple_clip_lstm_ros.evaluation.replay_plots import VideoWriter, plot_commands, plot_contact_sheet
from simple_clip_lstm_ros.evaluation.replay_result import ReplayResult
from simple_clip_lstm_ros.policy.policy import Action

FRAME = np.zeros((48, 64, 3), np.uint8)


class Counting:
    """Drives forward by how many frames its state has seen, a hundredth of a m/s each."""

    config = SimpleNamespace(action_axes=("linear.x", "angular.z"))

    def __init__(self):
        self.seen, self.text, self.steps = 0, None, []

    def reset(self):
        self.seen = 0

    def validate_instruction(self, instruction):
        return "not that" if "<image>" in instruction else ""

    def step(self, frame, instruction, stamp):
        if frame.shape[0] < 2:
            raise InputError("too small")
        if instruction != self.text:
            self.text, self.seen = instruction, 0
        self.seen += 1
        self.steps.append((stamp, self.seen))
        return Action((0.01 * self.seen, 0.0), stamp, 0.0, self.seen)


def pictures(*times):
    return [ImageEvent(time, time, FRAME) for time in times]


def every(period, end, begin=0.0):
    return [begin + number * period for number in range(round((end - begin) / period))]


def run(happenings, instruction=None, **rules):
    policy = Counting()
    replay = Replay(policy, ReplayConfig(**rules), instruction)
    return policy, replay, [*replay.run(sorted(happenings, key=lambda each: each.time))]


def test_it_commands_at_its_rate_and_moves_once_it_is_told():
    _, replay, moments = run([*pictures(*every(0.1, 2.0)), InstructionEvent(0.95, "go")])
    assert len(moments) == pytest.approx(2.0 * 20, abs=3)
    assert {moment.reason.name for moment in moments if moment.time < 0.95} == {"NO_INSTRUCTION"}
    assert moments[-1].reason.name == "MOVING" and moments[-1].velocity.linear_x > 0.0
    assert replay.steps == 10


def test_a_stop_phrase_stops_it_and_never_reaches_the_policy():
    policy, _, moments = run(
        [InstructionEvent(0.0, "go"), *pictures(*every(0.1, 2.0)), InstructionEvent(1.0, "please stop!")]
    )
    assert moments[-1].reason.name == "STOP_PHRASE" and moments[-1].velocity == Velocity()
    assert policy.text == "go" and max(stamp for stamp, _ in policy.steps) <= 1.0


def test_the_state_is_carried_and_forgotten_as_in_the_node():
    told = [InstructionEvent(0.0, "go"), InstructionEvent(0.55, "turn there"), InstructionEvent(0.75, "turn there")]
    policy, _, _ = run([*told, *pictures(*every(0.1, 1.0), *every(0.1, 4.2, begin=4.0))])
    counts = [count for _, count in policy.steps]
    # From the beginning, from the new instruction, and after a gap of more than state_timeout.
    assert counts == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 1, 2]


def test_a_gap_that_is_no_longer_than_state_timeout_is_none():
    policy, _, _ = run([InstructionEvent(0.0, "go"), *pictures(0.0, 1.9, 3.8)])
    assert [count for _, count in policy.steps] == [1, 2, 3]


def test_a_slow_step_leaves_out_all_but_the_newest_picture():
    policy, _, moments = run(
        [InstructionEvent(0.0, "go"), *pictures(*every(0.1, 2.0))], latency=0.37, command_timeout=2.0
    )
    stamps = [stamp for stamp, _ in policy.steps]
    assert stamps == pytest.approx([0.0, 0.3, 0.7, 1.1, 1.4, 1.8])
    first = next(moment for moment in moments if moment.reason.name == "MOVING")
    assert first.time == pytest.approx(0.37, abs=0.051)


def test_what_stops_the_node_stops_the_replay():
    stale = run([InstructionEvent(0.0, "go"), *pictures(*every(0.1, 1.0)), CommandEvent(3.0, Velocity())])[2]
    assert {moment.reason.name for moment in stale if moment.time > 1.5} == {"IMAGE_STALE"}
    late = run([InstructionEvent(0.0, "go"), *pictures(*every(0.1, 2.0))], latency=0.7)[2]
    assert not any(moment.velocity.linear_x for moment in late)
    refused = run([InstructionEvent(0.0, "<image>"), *pictures(*every(0.1, 1.0))])[2]
    assert refused[-1].reason.name == "INSTRUCTION_REFUSED"
    failed = run([InstructionEvent(0.0, "go"), *(ImageEvent(time, time, FRAME[:1]) for time in every(0.1, 1.0))])[2]
    assert failed[-1].reason.name == "STEP_ERROR" and "too small" not in failed[0].reason.name


def test_another_instruction_takes_the_place_of_those_that_were_given():
    policy, _, moments = run(
        [InstructionEvent(0.0, "go"), InstructionEvent(0.5, ""), *pictures(*every(0.1, 1.0))], instruction="mine"
    )
    assert policy.text == "mine" and {moment.instruction for moment in moments} == {"mine"}
    assert moments[-1].reason.name == "MOVING"


def test_what_was_commanded_stands_beside_it():
    happenings = [
        InstructionEvent(0.0, "go"),
        *pictures(*every(0.1, 2.0)),
        CommandEvent(0.5, Velocity(0.2)),
        ReasonEvent(0.5, "MOVING"),
    ]
    moments = run(happenings)[2]
    assert moments[0].recorded is None and moments[-1].recorded == Velocity(0.2)
    assert moments[-1].recorded_reason == "MOVING"


@pytest.mark.parametrize("jump", [1e9, 1e4])
def test_a_clock_that_jumps_ahead_is_not_waited_for(jump):
    _, replay, moments = run(
        [InstructionEvent(0.0, "go"), *pictures(*every(0.1, 1.0), *every(0.1, jump + 1.0, begin=jump))]
    )
    assert replay.pauses == 1 and len(moments) < 200
    assert moments[-1].reason.name == "MOVING"


def test_a_clock_that_goes_back_begins_anew():
    policy = Counting()
    happenings = [
        InstructionEvent(100.0, "go"),
        *pictures(*every(0.1, 101.0, begin=100.0)),
        *pictures(*every(0.1, 6.0, begin=5.0)),
    ]
    moments = [*Replay(policy, ReplayConfig()).run(happenings)]
    assert moments[-1].reason.name == "MOVING" and [count for _, count in policy.steps][10] == 1


@settings(deadline=None, max_examples=scale_examples(40))
@given(st.lists(st.tuples(st.floats(0.0, 0.4), st.sampled_from("pptcr")), max_size=40), st.sampled_from([0.0, 0.13]))
def test_whatever_happened_twice_is_the_same_and_within_limits(happened, latency):
    time, happenings = 0.0, []
    for pause, what in happened:
        time += pause
        made = {
            "p": ImageEvent(time, time, FRAME),
            "t": InstructionEvent(time, f"go {len(happenings)}"),
            "c": CommandEvent(time, Velocity(0.1)),
            "r": ReasonEvent(time, "MOVING"),
        }
        happenings.append(made[what])
    first, second = (run(happenings, latency=latency)[2] for _ in range(2))
    assert [moment[:3] for moment in first] == [moment[:3] for moment in second]
    assert all(abs(moment.velocity.linear_x) <= 0.3 for moment in first)


# What came of it.


def replayed(happenings, **rules):
    found = ReplayResult((0.3, 0.3, 0.8))
    for moment in run(happenings, **rules)[2]:
        found.add_tick(moment)
    return found


def test_differences_directions_and_reasons_are_counted():
    commands = [CommandEvent(time, Velocity(-0.1)) for time in every(0.1, 2.0)]
    reasons = [ReasonEvent(0.0, "MOVING"), ReasonEvent(1.0, "DISABLED")]
    found = replayed([InstructionEvent(0.0, "go"), *pictures(*every(0.1, 2.0)), *commands, *reasons])
    apart = found.differences()
    assert set(apart) == {"linear.x"} and apart["linear.x"]["same direction"] < 0.1
    assert apart["linear.x"]["largest"] == pytest.approx(0.1 + 0.2, abs=0.02)
    recorded = found.as_plain()["reasons"]["recorded"]
    assert recorded["MOVING"]["seconds"] == pytest.approx(1.0, abs=0.11)
    assert recorded["DISABLED"]["times"] == 1


def test_few_pictures_are_kept_however_long_it_was_those_that_differ_most():
    commands = [CommandEvent(float(second), Velocity(0.0, 0.0, 0.01 * second)) for second in range(30)]
    found = replayed([InstructionEvent(0.0, "go"), *pictures(*every(0.2, 30.0)), *commands])
    times = [shot.time for shot in found.key_frames]
    assert len(times) == 12 and times == sorted(times) and min(times) > 15.0


def test_without_a_recorded_command_there_is_nothing_to_compare():
    found = replayed([InstructionEvent(0.0, "go"), *pictures(*every(0.1, 1.0))])
    assert found.differences() == {} and found.key_frames == []


def test_pictures_and_film(tmp_path):
    commands = [CommandEvent(time, Velocity(0.1, 0.0, 0.3)) for time in every(0.1, 4.0)]
    happenings = [InstructionEvent(0.0, "go"), *pictures(*every(0.1, 4.0)), *commands]
    found = ReplayResult((0.3, 0.3, 0.8))
    with VideoWriter(tmp_path / "drive.mp4") as film:
        for moment in run(happenings)[2]:
            film.write_tick(moment, found.add_tick(moment))
    plot_commands(found, tmp_path / "commands.png")
    plot_contact_sheet(found.key_frames, tmp_path / "frames.png")
    assert min(cv2.imread(str(tmp_path / "commands.png")).shape[:2]) > 300
    assert min(cv2.imread(str(tmp_path / "frames.png")).shape[:2]) > 300
    video = cv2.VideoCapture(str(tmp_path / "drive.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(20, abs=1)
    read, shown = video.read()
    assert read and shown.shape == (384, 512, 3) and shown.max() > 150  # the text on a black frame
    with pytest.raises(InputError, match="cannot be written"), VideoWriter(tmp_path / "nowhere" / "drive.mp4") as film:
        film.write_tick(run(happenings)[2][-1], 0.0)


# Where it comes from.


def drive(**topics):
    named = {"image": "/image_raw/compressed", "command": "/cmd_vel_raw", "text": "/instruction"} | topics
    happened = [(0.0, named["text"], text("go left"))]
    for number in range(10):
        shown = compressed(picture(number), EPOCH + number / 10)
        happened += [(number / 10, named["image"], shown), (number / 10, named["command"], twist(0.1))]
    return happened


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("prefix", ["", "/robot1"])
def test_a_bag_is_found_its_way_through(tmp_path, storage, prefix):
    names = {"image": f"{prefix}/image_raw/compressed", "command": f"{prefix}/cmd_vel_raw"}
    happened = drive(**names, text=f"{prefix}/instruction")
    happened += [(0.5, f"{prefix}/inference/reason", text("MOVING: ...")), (0.5, f"{prefix}/cmd_vel", twist(0.9))]
    happened += [(0.5, f"{prefix}/inference/overlay", image(picture(1)))]
    found = BagDrive(write_bag(tmp_path / "bag", happened, storage), TopicSelection())
    assert (found.images, found.commands, found.has_instruction) == (10, f"{prefix}/cmd_vel_raw", True)
    kinds = [type(each).__name__ for each in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "InstructionEvent": 1,
        "ImageEvent": 10,
        "CommandEvent": 10,
        "ReasonEvent": 1,
    }
    (reason,) = [each for each in found if isinstance(each, ReasonEvent)]
    assert reason.reason == "MOVING"


def test_raw_images_and_stamped_commands_do_as_well(tmp_path):
    happened = [(0.1, "/camera/image_raw", image(picture(3), EPOCH)), (0.2, "/cmd_vel", twist_stamped(0.3))]
    found = [*BagDrive(write_bag(tmp_path / "bag", happened), TopicSelection())]
    assert np.array_equal(found[0].frame, picture(3)) and found[0].stamp == EPOCH
    assert found[1].velocity.linear_x == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("happened", "why"),
    [
        ([(0.0, "/cmd_vel", twist(0.1))], "has no images"),
        (drive() + drive(image="/other/image"), r"images on /image_raw/compressed, /other/image: .* --image-topic"),
        (drive() + drive(command="/b/cmd_vel_raw"), "/b/cmd_vel_raw, /cmd_vel_raw: name one with --command-topic"),
        (drive() + drive(text="/b/instruction"), "name one with --instruction-topic"),
    ],
)
def test_what_is_missing_or_ambiguous_is_told(tmp_path, happened, why):
    with pytest.raises(EpisodeError, match=why):
        BagDrive(write_bag(tmp_path / "bag", happened), TopicSelection())


def test_a_named_topic_settles_it(tmp_path):
    bag = write_bag(tmp_path / "bag", drive() + drive(image="/other/image"))
    assert BagDrive(bag, TopicSelection(image="/other/image")).images == 10
    with pytest.raises(EpisodeError, match="no topic /third"):
        BagDrive(bag, TopicSelection(image="/third"))


def test_what_is_no_bag_or_half_of_one_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.mcap").write_text("hello")
    bag = write_bag(tmp_path / "bag", drive())
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for path in (tmp_path / "text.mcap", bag, tmp_path):
        with pytest.raises(EpisodeError) as raised:
            [*BagDrive(path, TopicSelection())]
        assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_a_topic_of_an_unknown_type_is_no_matter(tmp_path):
    known = write_bag(tmp_path / "known", drive())
    own = get_typestore(Stores.ROS2_HUMBLE)
    own.register(get_types_from_msg("float64 charge", "acme_msgs/msg/Battery"))
    with AnyReader([known]) as reader, Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        battery = writer.add_connection("/battery", "acme_msgs/msg/Battery", typestore=own)
        there = {each.id: writer.add_connection(each.topic, each.msgtype, typestore=own) for each in reader.connections}
        for connection, time, raw in reader.messages():
            writer.write(battery, time, b"not even serialised")
            writer.write(there[connection.id], time, raw)
    assert len([*BagDrive(tmp_path / "bag", TopicSelection())]) == len([*BagDrive(known, TopicSelection())]) == 21


def test_an_image_of_an_unknown_encoding_is_told_and_the_others_are_seen(tmp_path):
    broken = image(picture(2), EPOCH + 0.5)
    broken.encoding = "holography"
    found = [*BagDrive(write_bag(tmp_path / "bag", [(0.55, "/image_raw/compressed2", broken)]), TopicSelection())]
    assert [type(each).__name__ for each in found] == ["BadImageEvent"] and "holography" in found[0].reason


def test_an_episode_is_a_drive(tmp_path):
    path = tmp_path / "one.h5"
    with EpisodeWriter(path, language_instruction="go left") as writer:
        for number in range(40):
            writer.add(np.full((8, 10, 3), number, np.uint8), (0.1, 0.0, 0.2), number / 10)
    found = [*EpisodeDrive(path, None, None)]
    assert found[0] == InstructionEvent(0.0, "go left")
    frames = [each for each in found if isinstance(each, ImageEvent)]
    assert [each.frame[0, 0, 0] for each in frames] == [*range(40)] and frames[10].time == pytest.approx(1.0)
    assert sum(isinstance(each, CommandEvent) for each in found) == 40


# The node's parameters.


def test_rules_are_read_from_a_parameter_file(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "/**: {ros__parameters: {command_rate: 10, max_velocity: [0.5, 0.0, 1.0]}}\n"
        "/r1/inference: {ros__parameters: {image_timeout: 0.7}}\n"
        "/velocity_guard: {ros__parameters: {command_rate: 99.0}}\n"
    )
    rules = ReplayConfig.from_parameters(read_ros_params(file), 0.2)
    assert (rules.command_rate, rules.image_timeout, rules.latency) == (10.0, 0.7, 0.2)
    assert rules.limits.max_velocity == (0.5, 0.0, 1.0) and rules.state_timeout == ReplayConfig().state_timeout


def test_the_packages_own_parameter_file_says_what_rules_have_by_default():
    file = Path(__file__).parents[2] / "config" / "inference.yaml"
    stated = ReplayConfig.from_parameters(read_ros_params(file), 0.0)
    assert stated == ReplayConfig.from_parameters({}, 0.0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[1, 2]", "no ros__parameters"),
        ("a: [", "is not YAML"),
        ("/**: {ros__parameters: {command_rate: fast}}", "command_rate must be a number"),
        ("/**: {ros__parameters: {command_rate: -1}}", "command_rate must be a positive number"),
        ("/**: {ros__parameters: {max_velocity: abc}}", "max_velocity must be a list of numbers"),
        ("/**: {ros__parameters: {max_velocity: [1.0]}}", "max_velocity needs three values"),
        ("/**: {ros__parameters: {image_timeout: 0}}", "image_timeout"),
    ],
)
def test_parameters_that_cannot_be_are_refused(tmp_path, content, why):
    file = tmp_path / "own.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=why):
        Replay(Counting(), ReplayConfig.from_parameters(read_ros_params(file), 0.0))
