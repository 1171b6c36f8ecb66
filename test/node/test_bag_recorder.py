"""simple_clip_lstm record: a real process on real topics, and the bags that it leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from std_srvs.srv import Trigger

pytest.importorskip("rosbags")
from rosbags.highlevel import AnyReader

from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.data.hdf5 import read_episode
from simple_clip_lstm_ros.data.image_decoding import to_rgb

pytestmark = pytest.mark.ros
INFERENCE, GUARD = "inference/reason", "velocity_guard/reason"


def read(path: Path) -> dict[str, list]:
    """By topic, in the order of the recording."""
    found: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            found.setdefault(connection.topic, []).append(reader.deserialize(raw, connection.msgtype))
    return found


def facts(path: Path) -> dict[str, str]:
    return yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["custom_data"]


def reds(images: list) -> list[int]:
    return [round(float(to_rgb(image)[..., 0].mean())) for image in images]


def test_a_whole_drive(recorded_robot, tmp_path):
    robot = recorded_robot()
    robot.say("go left")
    robot.command(0.0)
    robot.wait(0.5)  # until it has seen what type commands are of
    robot.show(4)
    robot.command(0.25)
    robot.show(2)
    code, told = robot.end()
    assert code == 0, told
    (path,) = tmp_path.iterdir()
    assert str(path) in told
    found = read(path)
    assert [text.data for text in found["/instruction"]] == ["go left"]
    assert reds(found["/image_raw/compressed"]) == pytest.approx([1, 2, 3, 4, 5, 6], abs=2)
    assert found["/cmd_vel"][-1].linear.x == 0.25
    stamps = [image.header.stamp for image in found["/image_raw/compressed"]]
    assert len({(stamp.sec, stamp.nanosec) for stamp in stamps}) == 6 and stamps[0].sec > 0
    assert found["/image_raw/compressed"][0].header.frame_id == "camera"
    assert facts(path)["inference parameters"].startswith("not known")


def test_it_finds_out_what_commands_are(recorded_robot, tmp_path):
    robot = recorded_robot(stamped=True)
    robot.command(0.0)
    robot.wait(0.5)
    robot.command(0.25)
    assert robot.end()[0] == 0
    (path,) = tmp_path.iterdir()
    assert read(path)["/cmd_vel"][-1].twist.linear.x == 0.25


def test_episodes_are_made_of_such_a_bag(recorded_robot, tmp_path):
    robot = recorded_robot()
    robot.say("go left")
    robot.command(0.0)
    robot.wait(0.5)
    robot.command(0.25)
    robot.show(4)
    assert robot.end()[0] == 0
    (path,) = tmp_path.iterdir()
    topics = [
        "--image-topic",
        "image_raw/compressed",
        "--command-topic",
        "cmd_vel",
        "--instruction-topic",
        "instruction",
    ]
    assert main(["episodes", str(tmp_path), "--from-bag", str(path), *topics]) == 0
    (episode,) = map(read_episode, tmp_path.glob("*.h5"))
    assert episode.actions[:, 0].tolist() == [0.25] * 4 and episode.language_instruction == "go left"


def test_the_last_moments_are_written_when_somebody_asks(recorded_robot, tmp_path):
    robot = recorded_robot("--last", "1.5")
    dump = robot.service(Trigger, "recorder/dump")
    robot.say("go left")
    robot.show(8)
    robot.wait(1.5)
    robot.show(5)
    answer = dump()
    assert answer.success, answer.message
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("_asked") and str(path) in answer.message
    found = read(path)
    assert [text.data for text in found["/instruction"]] == ["go left"]  # it holds still
    assert reds(found["/image_raw/compressed"]) == pytest.approx([9, 10, 11, 12, 13], abs=2)
    assert robot.end()[0] == 0 and [*tmp_path.iterdir()] == [path]


def test_they_are_written_when_the_robot_is_stopped(recorded_robot, tmp_path):
    robot = recorded_robot("--last", "30")
    robot.give_reason(INFERENCE, "MOVING: following the instruction")
    robot.give_reason(GUARD, "FORWARDING: forwarding the commands of its source")
    robot.show(3)
    robot.wait(1.5)
    assert not [*tmp_path.iterdir()]
    robot.give_reason(GUARD, "DISABLED: by hand")
    robot.give_reason(INFERENCE, "DISABLED: by hand")  # both belong to one stop
    robot.show(1)
    robot.until(lambda: [*tmp_path.glob("*/metadata.yaml")], "no bag")
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("_velocity_guard_disabled")
    found = read(path)
    assert len(found["/image_raw/compressed"]) == 4
    assert [reason.data.partition(":")[0] for reason in found["/velocity_guard/reason"]] == ["FORWARDING", "DISABLED"]
    code, told = robot.end()
    assert code == 0 and str(path) in told and [*tmp_path.iterdir()] == [path]


def test_where_nothing_came_there_is_no_bag_and_it_says_so(recorded_robot, tmp_path):
    robot = recorded_robot("--last", "30")
    answer = robot.service(Trigger, "recorder/dump")()
    assert not answer.success and "nothing has arrived yet" in answer.message
    code, _ = robot.end()
    assert code == 0 and not [*tmp_path.iterdir()]


def test_a_disk_that_takes_no_more_ends_it_in_one_line(recorded_robot, tmp_path):
    robot = recorded_robot(largest=1_500_000)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    end = time.monotonic() + 20.0
    while robot.process.poll() is None and time.monotonic() < end:
        robot.publish(noise)
    code, told = robot.end()
    (failed,) = [line for line in told.splitlines() if "[FATAL]" in line]
    assert code == 1 and all(word in failed for word in ("File too large", "ros2 bag reindex"))
    assert "Traceback" not in told


def test_a_bag_that_cannot_be_written_does_not_end_the_watch(recorded_robot, tmp_path):
    robot = recorded_robot("--last", "30", largest=1_500_000)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for _ in range(20):
        robot.publish(noise)
    robot.wait(0.5)
    answer = robot.service(Trigger, "recorder/dump")()
    assert not answer.success and "File too large" in answer.message
    assert robot.process.poll() is None and robot.end()[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere"], "nowhere is not a folder"),
        ([".", "--rate", "5"], "--rate is not for --format mcap"),
        ([".", "--format", "hdf5", "--last", "5"], "--last is not for --format hdf5"),
    ],
)
def test_what_cannot_be_is_refused(capsys, words, why):
    assert main(["record", *words]) == 1
    told = capsys.readouterr().err
    assert why in told and len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "why"), [(["--last", "-1"], "last must be from 0 to 3600 s"), (["--namespace", "no name"], "namespace")]
)
def test_what_the_node_cannot_be_given_is_refused_in_one_line(tmp_path, words, why):
    command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "record", str(tmp_path), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and why in done.stderr and len(done.stderr.strip().splitlines()) == 1
