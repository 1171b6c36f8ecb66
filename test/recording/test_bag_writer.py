"""Bags as others read them: by the MCAP project's own reader, and by rosbags."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rosbags")

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path and leaves the tests' folders out
from bag import STORE, compressed, picture, text, twist
from rosbags.highlevel import AnyReader

from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.recording.drive_recorder import DriveRecorder, SnapshotRecorder, write_bag
from simple_clip_lstm_ros.recording.ring_buffer import BoundedWriteQueue, Channel, Message, RingBuffer

TEXT = Channel("/instruction", "std_msgs/msg/String", is_latched=True)
COMMAND = Channel("/cmd_vel", "geometry_msgs/msg/Twist")
IMAGE = Channel("/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
BEGIN = 1_700_000_000 * 10**9


def message(channel, seconds, content):
    return Message(channel, BEGIN + round(seconds * 1e9), bytes(STORE.serialize_cdr(content, channel.type)))


def drive():
    yield message(TEXT, 0.0, text("go left"))
    for number in range(20):
        yield message(IMAGE, number / 10, compressed(picture(number), number / 10))
        yield message(COMMAND, number / 10, twist(0.01 * number))


def no_facts():
    return {}


def read(path):
    with AnyReader([path]) as reader:
        return [
            (connection.topic, time, reader.deserialize(raw, connection.msgtype))
            for connection, time, raw in reader.messages()
        ]


def test_what_was_written_is_read(tmp_path):
    written = [*drive()]
    assert write_bag(tmp_path / "bag", written, no_facts) == len(written)
    found = read(tmp_path / "bag")
    assert sorted((topic, time) for topic, time, _ in found) == sorted((m.channel.topic, m.time) for m in written)
    assert [m.linear.x for topic, _, m in found if topic == "/cmd_vel"] == [0.01 * number for number in range(20)]


def test_the_mcap_readers_find_index_schemas_and_metadata(tmp_path):
    """What Foxglove needs: a summary to seek by, ROS 2's message definitions, and the facts beside them."""
    make_reader = pytest.importorskip("mcap.reader").make_reader
    write_bag(tmp_path / "bag", drive(), lambda: {"bundle sha256": "abc", "inference parameters": '{"device": "cpu"}'})
    with (tmp_path / "bag" / "bag.mcap").open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
        counts = {summary.channels[number].topic: n for number, n in summary.statistics.channel_message_counts.items()}
        assert counts == {"/instruction": 1, "/image_raw/compressed": 20, "/cmd_vel": 20}
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
        assert summary.chunk_indexes
        (metadata,) = reader.iter_metadata()
    told = yaml.safe_load(metadata.metadata["serialized_metadata"])
    assert told["custom_data"] == {"bundle sha256": "abc", "inference parameters": '{"device": "cpu"}'}


def test_metadata_is_what_rosbag2_expects(tmp_path):
    write_bag(tmp_path / "bag", drive(), no_facts)
    told = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (told["version"], told["storage_identifier"], told["message_count"]) == (9, "mcap", 41)
    assert told["relative_file_paths"] == ["bag.mcap"] and told["duration"]["nanoseconds"] == round(1.9e9)
    offered = {
        topic["topic_metadata"]["name"]: topic["topic_metadata"]["offered_qos_profiles"][0]["durability"]
        for topic in told["topics_with_message_count"]
    }
    assert offered == {"/instruction": "transient_local", "/image_raw/compressed": "volatile", "/cmd_vel": "volatile"}


def test_without_a_message_there_is_no_bag(tmp_path):
    assert write_bag(tmp_path / "bag", [], no_facts) == 0
    assert not [*tmp_path.iterdir()]


def test_a_disk_that_fills_up_ends_a_bag_that_is_whole(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "free")
    left = iter([10**12, 10**12, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(next(left)))
    many = (Message(IMAGE, BEGIN + number, bytes(400_000)) for number in range(100))
    with pytest.raises(EpisodeError, match=r"6 messages.*64 MB") as raised:
        write_bag(tmp_path / "bag", many, no_facts)
    assert "\n" not in str(raised.value)
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.message_count == 6


@pytest.mark.parametrize("blocked", ["there", "read-only"])
def test_where_it_cannot_be_written_one_line_says_why(tmp_path, monkeypatch, blocked):
    if blocked == "there":
        (tmp_path / "bag").mkdir()
    else:
        monkeypatch.setattr(
            Path, "mkdir", lambda *it, **them: (_ for _ in ()).throw(PermissionError(13, "not allowed"))
        )
    with pytest.raises(EpisodeError, match=r"(exists already|not allowed)") as raised:
        write_bag(tmp_path / "bag", drive(), no_facts)
    assert "\n" not in str(raised.value)


def test_a_backlog_that_is_full_drops_what_comes_and_counts_it():
    backlog = BoundedWriteQueue(3 * Message(COMMAND, 0, bytes(10)).size)
    for number in range(5):
        backlog.add(Message(COMMAND, number, bytes(10)))
    backlog.close()
    assert [message.time for message in backlog] == [0, 1, 2] and backlog.dropped == 2


def test_a_whole_drive_is_written_as_it_comes(tmp_path):
    told = []
    whole = DriveRecorder(tmp_path / "drive", 10**6, no_facts, told.append)
    for each in drive():
        whole.add(each)
    whole.close()
    assert told == [f"{tmp_path / 'drive'}: 41 messages"] and len(read(tmp_path / "drive")) == 41


def test_events_within_a_moment_make_one_bag(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told = []
    moments = SnapshotRecorder(tmp_path, RingBuffer(30.0, 10**9), no_facts, told.append)
    for each in drive():
        moments.add(each)
    moments.trigger("inference_disabled")
    moments.trigger("velocity_guard_disabled")
    moments.write_if_due()
    assert not moments.is_writing and not [*tmp_path.iterdir()]
    now[0] += 1.1
    moments.write_if_due()
    moments.close()
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("_inference_disabled") and told == [f"{path}: 41 messages, 1.9 s"]


def test_what_happened_just_before_the_end_is_written(tmp_path):
    told = []
    moments = SnapshotRecorder(tmp_path, RingBuffer(30.0, 10**9), no_facts, told.append)
    for each in drive():
        moments.add(each)
    moments.trigger("velocity_guard_ended")
    moments.close()
    assert [path.name[16:] for path in tmp_path.iterdir()] == ["velocity_guard_ended"] and len(told) == 1
