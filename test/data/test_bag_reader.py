"""Episodes from bags: which images, which action to each, where one ends; and bags that are none."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_clip_lstm_ros.errors import EpisodeError

pytest.importorskip("h5py")
pytest.importorskip("rosbags")

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path and leaves the tests' folders out
from bag import (
    COMMAND,
    EPOCH,
    IMAGE,
    INSTRUCTION,
    compressed,
    image,
    picture,
    text,
    twist,
    twist_stamped,
    write_bag,
)

from simple_clip_lstm_ros.data.bag_reader import convert_bag
from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics, EpisodeSegmenter
from simple_clip_lstm_ros.data.hdf5 import read_episode

TOPICS = DriveTopics(IMAGE, COMMAND)
INSTRUCTED = DriveTopics(IMAGE, COMMAND, INSTRUCTION)


@pytest.fixture
def episodes(tmp_path):
    """Of what happened, by way of a bag."""

    def episodes(happened, topics=TOPICS, storage="mcap", **options):
        bag = write_bag(tmp_path / "drive", happened, storage)
        return [read_episode(path) for path in convert_bag(bag, tmp_path, topics, **options)]

    return episodes


def levels(episode):
    """Which of the pictures they are."""
    frames = episode.frames()
    assert np.array_equal(frames, np.stack([picture(frame[0, 0, 0]) for frame in frames]))
    return list(frames[:, 0, 0, 0])


DRIVE = [
    (0.0, IMAGE, image(picture(10))),  # before any command
    (0.1, COMMAND, twist(0.1, 0.2, 0.3)),
    (0.2, IMAGE, image(picture(20))),
    (0.3, IMAGE, image(picture(30))),
    (0.4, COMMAND, twist(0.0)),
    (0.45, COMMAND, twist(-0.4, 0, 0.5)),
    (0.5, IMAGE, image(picture(40))),
]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_each_image_bears_the_newest_command_before_it(storage, episodes):
    (episode,) = episodes(DRIVE, storage=storage)
    assert levels(episode) == [20, 30, 40]
    assert np.array_equal(episode.actions, np.float32([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [-0.4, 0, 0.5]]))
    assert episode.timestamps == pytest.approx([0.0, 0.1, 0.3], abs=1e-6)
    assert (episode.language_instruction, episode.action_units) == (None, "m/s, m/s, rad/s")
    assert episode.name == "drive_001"


@pytest.mark.parametrize("ending", [".mcap", ".db3"])
def test_the_file_in_the_bag_can_be_named_too(ending, tmp_path):
    bag = write_bag(tmp_path / "drive", DRIVE, "mcap" if ending == ".mcap" else "sqlite3")
    (file,) = bag.glob(f"*{ending}")
    (made,) = convert_bag(file, tmp_path, TOPICS)
    assert made == tmp_path / "drive_001.h5"
    assert levels(read_episode(made)) == [20, 30, 40]


def test_the_order_of_time_counts_and_not_that_of_writing(episodes):
    (episode,) = episodes(DRIVE[::-1])
    assert levels(episode) == [20, 30, 40]


@pytest.mark.parametrize("form", [image, compressed, lambda rgb: image(rgb, encoding="bgr8")])
@pytest.mark.parametrize("command", [twist, twist_stamped])
def test_every_kind_of_message_is_read(form, command, episodes):
    happened = [(0.0, COMMAND, command(0.1, 0.2, 0.3)), *((n, IMAGE, form(picture(10 * n))) for n in (1, 2))]
    (episode,) = episodes(happened)
    assert levels(episode) == [10, 20]
    assert np.array_equal(episode.actions, np.float32([[0.1, 0.2, 0.3]] * 2))


def test_the_stamp_of_an_image_counts_where_it_has_one(episodes):
    stamps = [5.0, 5.25, 5.75]
    happened = [(0.0, COMMAND, twist(0.1)), *((n + 1, IMAGE, image(picture(n), s)) for n, s in enumerate(stamps))]
    (episode,) = episodes(happened)
    assert episode.timestamps == pytest.approx([0.0, 0.25, 0.75], abs=1e-9)


def test_topics_may_be_named_without_their_slash(episodes):
    (episode,) = episodes(DRIVE, DriveTopics(IMAGE[1:], COMMAND[1:]))
    assert len(episode) == 3


INSTRUCTIONS = [
    (0.0, COMMAND, twist(0.1)),
    (0.1, IMAGE, image(picture(1))),  # before any instruction
    (0.2, INSTRUCTION, text("go left")),
    (0.3, IMAGE, image(picture(2))),
    (0.4, INSTRUCTION, text("go left")),  # as who repeats it for late listeners
    (0.5, IMAGE, image(picture(3))),
    (0.6, INSTRUCTION, text("go right")),
    (0.7, IMAGE, image(picture(4))),
    (0.8, INSTRUCTION, text("  ")),
    (0.9, IMAGE, image(picture(5))),  # the robot was told to stop
    (1.0, INSTRUCTION, text("go right")),
    (1.1, IMAGE, image(picture(6))),
]


def test_each_new_instruction_begins_an_episode_and_a_blank_one_ends_it(episodes):
    found = episodes(INSTRUCTIONS, INSTRUCTED)
    assert [levels(episode) for episode in found] == [[2, 3], [4], [6]]
    assert [episode.language_instruction for episode in found] == ["go left", "go right", "go right"]
    assert [episode.name for episode in found] == ["drive_001", "drive_002", "drive_003"]
    assert all(episode.timestamps[0] == 0.0 for episode in found)


def test_without_a_topic_of_instructions_the_bag_is_one_episode(episodes):
    (episode,) = episodes(INSTRUCTIONS)
    assert levels(episode) == [1, 2, 3, 4, 5, 6]


def at(rate, times):
    """Which of the images at these times, in s, are taken."""
    follower = EpisodeSegmenter(rate, instructed=False)
    follower.set_command(twist(0.1))
    moments = ((time, follower.add_image(image(picture(0)), EPOCH * 10**9 + round(time * 1e9))) for time in times)
    return [time for time, moment in moments if moment]


@pytest.mark.parametrize("jitter", [0.0, 0.004])
@pytest.mark.parametrize("camera", [10, 20, 30, 60])
def test_a_rate_takes_evenly(camera, jitter):
    rng = np.random.default_rng(0)
    times = np.arange(0, 10, 1 / camera) + rng.uniform(-jitter, jitter, 10 * camera) + 1.0
    taken = at(5.0, times)
    assert len(taken) in (50, 51)
    assert np.diff(taken) == pytest.approx(0.2, abs=0.03), "a tenth of a period early, and jitter"


@given(rate=st.floats(0.1, 100), gaps=st.lists(st.floats(0, 20, allow_subnormal=False), min_size=1, max_size=50))
def test_a_rate_is_never_exceeded_and_no_long_gap_is_caught_up(rate, gaps):
    times = np.cumsum(gaps) + 1.0
    taken = at(rate, times)
    assert taken[0] == times[0]
    assert len(taken) <= (times[-1] - times[0]) * rate + 1.1
    spacing = np.diff(taken)
    assert (spacing > 0.0).all()
    assert all(any(taken_at >= time - 1.1 / rate for taken_at in taken if taken_at <= time) for time in times)


def test_a_rate_begins_anew_with_each_episode(episodes):
    images = [(0.5 + n * 0.1, IMAGE, image(picture(n + 1))) for n in range(20)]
    begins = [(0.45, INSTRUCTION, text("a")), (1.35, INSTRUCTION, text("b"))]
    found = episodes([(0.0, COMMAND, twist(0.1)), *images, *begins], INSTRUCTED, rate=2.0)
    assert [levels(episode) for episode in found] == [[1, 6], [10, 15, 20]]


def test_images_that_cannot_be_used_are_left_out_and_told_of(episodes, caplog):
    broken = compressed(picture(50), form=".jpg")
    broken.data = broken.data[:-20]
    (episode,) = episodes([*DRIVE, (0.6, IMAGE, broken)])
    assert levels(episode) == [20, 30, 40]
    (line,) = caplog.messages
    assert line.startswith("1 images left out; the first: a compressed image ('jpg'") and "is cut off" in line


def test_progress_is_told_image_by_image(episodes):
    told = []
    episodes(DRIVE, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# What is refused, and that nothing is left.


def refusal(bag, folder, topics=TOPICS):
    before = sorted(folder.rglob("*"))
    with pytest.raises(EpisodeError) as caught:
        convert_bag(bag, folder, topics)
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


DEPTH = image(picture(1))
DEPTH.encoding = "16UC1"


@pytest.mark.parametrize(
    ("happened", "topics", "why"),
    [
        (DRIVE, DriveTopics("/camera", COMMAND), f"no topic /camera of sensor_msgs/msg/Image or .*: there are {IMAGE}"),
        (DRIVE, DriveTopics(COMMAND, COMMAND), f"no topic {COMMAND} of sensor_msgs/msg/Image"),
        (DRIVE, DriveTopics(IMAGE, IMAGE), f"no topic {IMAGE} of geometry_msgs/msg/Twist or .*: there are {COMMAND}"),
        (DRIVE, INSTRUCTED, f"no topic {INSTRUCTION} of std_msgs/msg/String: there is none in it"),
        (DRIVE[:1] + DRIVE[4:6], TOPICS, "no image in it comes after a command"),
        ([*INSTRUCTIONS[:2], (0.2, INSTRUCTION, text(" "))], INSTRUCTED, "no instruction in it"),
        ([DRIVE[1], (0.2, IMAGE, DEPTH)], TOPICS, "none of 1 images can be used; the first: '16UC1' is a depth image"),
        ([(0.1, COMMAND, twist(float("nan"))), DRIVE[2]], TOPICS, "is not three finite velocities"),
        ([*DRIVE, (0.6, IMAGE, image(picture(9)[:3]))], TOPICS, r"a frame of uint8 \[3, 6, 3\], not"),
        ([*INSTRUCTIONS, (2, INSTRUCTION, text("a\0b")), (3, IMAGE, DRIVE[0][2])], INSTRUCTED, "cannot be stored"),
    ],
)
def test_what_makes_no_episode_is_refused_with_the_reason(happened, topics, why, tmp_path):
    told = refusal(write_bag(tmp_path / "drive", happened), tmp_path, topics)
    assert re.search(why, told), told


def test_what_is_there_already_stays(tmp_path):
    bag = write_bag(tmp_path / "drive", INSTRUCTIONS)
    (tmp_path / "drive_003.h5").write_text("mine")
    assert "drive_003.h5 exists; remove it" in refusal(bag, tmp_path, INSTRUCTED)
    assert (tmp_path / "drive_003.h5").read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    bag = write_bag(tmp_path / "drive", DRIVE)
    with pytest.raises(EpisodeError, match=r"nowhere .*create it"):
        convert_bag(bag, tmp_path / "nowhere", TOPICS)


@pytest.mark.parametrize("name", ["nowhere", ".", "notes.txt", "empty.mcap", "empty.db3"])
def test_what_is_no_bag_is_refused(name, tmp_path):
    for file in ("notes.txt", "empty.mcap", "empty.db3"):
        (tmp_path / file).write_bytes(b"")
    assert "cannot be read as a bag" in refusal(tmp_path / name, tmp_path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_bag_that_was_cut_off_is_refused(kept, tmp_path):
    bag = write_bag(tmp_path / "drive", DRIVE)
    (file,) = bag.glob("*.mcap")
    os.truncate(file, int(file.stat().st_size * kept))
    assert "cannot be read as a bag" in refusal(bag, tmp_path)


def test_a_message_that_is_damaged_is_said_in_one_line(tmp_path):
    bag = write_bag(tmp_path / "drive", DRIVE, "sqlite3")
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute(
            "UPDATE messages SET data = x'00010000ff' WHERE timestamp = (SELECT max(timestamp) FROM messages)"
        )
    assert f"{bag} is damaged (" in refusal(bag, tmp_path)
